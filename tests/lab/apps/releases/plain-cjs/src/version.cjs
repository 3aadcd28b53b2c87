module.exports = '7.1.0';
