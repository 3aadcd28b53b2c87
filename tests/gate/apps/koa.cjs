'use strict';

const Koa = require('koa');
const { about, boot, health, keepAliveMs, port, slow } = require('./behaviour.cjs');

const app = new Koa();
app.use(async (context) => {
  if (context.path === '/health') [context.status, context.body] = health();
  else if (context.path === '/echo') context.body = context.req;
  else {
    if (context.path === '/slow') await slow();
    context.body = about();
  }
});

boot().then(() => {
  app.listen(port).keepAliveTimeout = keepAliveMs;
});
