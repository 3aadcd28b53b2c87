'use strict';

/** The same few routes for the apps that have no router of their own. */

const { about, health, mode, slow } = require('./behaviour.cjs');

const BIG = 16 * 1024 * 1024;

exports.handle = async (request, response) => {
  const json = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.url === '/health' && mode === 'redirects') return response.writeHead(302, { location: '/login' }).end();
  if (request.url === '/health') return json(...health());
  if (request.url === '/env') return json(200, process.env);
  if (request.url === '/slow') await slow();
  if (request.url === '/echo') return request.pipe(response);
  if (request.url === '/named') return response.writeHead(200, [['X-Release', 'mine']]).end();
  if (request.url === '/big') return response.end(Buffer.alloc(BIG));
  if (request.url === '/sse') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const tick = setInterval(() => response.write('data: tick\n\n'), 100);
    return response.on('close', () => clearInterval(tick));
  }
  return json(200, about());
};
