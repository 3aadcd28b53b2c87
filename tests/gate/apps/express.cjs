'use strict';

const express = require('express');
const { about, boot, health, keepAliveMs, port, slow } = require('./behaviour.cjs');

const app = express();
app.get('/health', (_, response) => {
  const [status, body] = health();
  response.status(status).json(body);
});
app.get('/slow', async (_, response) => response.json((await slow(), about())));
app.post('/echo', express.json(), (request, response) => response.json(request.body));
app.get('/', (_, response) => response.json(about()));

boot().then(() => {
  app.listen(port).keepAliveTimeout = keepAliveMs;
});
