module.exports = '7.2.0';
