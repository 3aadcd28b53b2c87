module.exports = '7.6.0';
