module.exports = '7.0.0';
