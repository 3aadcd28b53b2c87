const http = require('node:http');
const { handle } = require('./routes.cjs');

http.createServer(handle).listen(process.env.PORT ?? 3000);
