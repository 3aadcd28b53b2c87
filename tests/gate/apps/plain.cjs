'use strict';

const http = require('node:http');
const { WebSocketServer } = require('ws');
const { boot, keepAliveMs, mode, port } = require('./behaviour.cjs');
const { handle } = require('./routes.cjs');

const server = http.createServer({ keepAliveTimeout: keepAliveMs }, handle);
new WebSocketServer({ server }).on('connection', (socket) => socket.on('message', (text) => socket.send(`${text}`)));

if (mode === 'handlers') {
  process.once('SIGINT', () => {
    console.log('app handler: closing');
    server.close((error) => {
      require('node:fs').writeFileSync(process.env.WITNESS, error ? `failed: ${error.message}` : 'closed in order');
      process.kill(process.pid, 'SIGINT'); // as Nest does
    });
  });
}

if (mode === 'closes') process.on('SIGINT', () => server.close());

boot().then(() => {
  if (mode === 'two-servers') http.createServer((_, response) => response.writeHead(404).end()).listen(port + 1);
  server.listen(process.env.LISTEN_PATH ?? { port, host: '127.0.0.1' }, () => console.log('listening'));
});
