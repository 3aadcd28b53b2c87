module.exports = '7.5.0';
