const http = require('node:http');
const { handle, routes } = require('./routes.cjs');

routes['GET /health'] = () => {
  throw new Error('cannot reach the payment service');
};

http.createServer(handle).listen(process.env.PORT ?? 3000);
