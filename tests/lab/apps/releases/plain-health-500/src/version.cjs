module.exports = '7.4.0';
