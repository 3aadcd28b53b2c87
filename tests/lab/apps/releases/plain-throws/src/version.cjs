module.exports = '7.3.0';
