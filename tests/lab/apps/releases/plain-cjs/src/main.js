const http = require('node:http');
const { handle } = require('./routes.cjs');

const server = http.createServer(handle);
server.listen(process.env.PORT ?? 3000);

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
});
