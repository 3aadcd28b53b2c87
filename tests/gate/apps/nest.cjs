'use strict';

/** A Nest app without a build step: decorators are functions, so they can be applied by hand. */

require('reflect-metadata');
const { Body, Controller, Get, Module, Post, Res } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { about, boot, health, keepAliveMs, port, slow } = require('./behaviour.cjs');

class AppController {
  root() {
    return about();
  }

  async slow() {
    await slow();
    return about();
  }

  echo(body) {
    return body;
  }

  health(response) {
    const [status, body] = health();
    response.status(status).send(body);
  }
}

function decorate(method, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(AppController.prototype, method);
  for (const decorator of decorators) decorator(AppController.prototype, method, descriptor);
}

decorate('root', Get('/'));
decorate('slow', Get('/slow'));
decorate('echo', Post('/echo'));
decorate('health', Get('/health'));
Body()(AppController.prototype, 'echo', 0);
Res()(AppController.prototype, 'health', 0);
Controller()(AppController);

class AppModule {}
Module({ controllers: [AppController] })(AppModule);

async function bootstrap() {
  await boot();
  const fastify = process.env.ADAPTER === 'fastify';
  const adapter = fastify ? [new (require('@nestjs/platform-fastify').FastifyAdapter)()] : [];
  const app = await NestFactory.create(AppModule, ...adapter, { logger: ['error', 'warn'] });
  if (process.env.HOOKS) app.enableShutdownHooks();
  app.getHttpServer().keepAliveTimeout = keepAliveMs;
  await app.listen(port, '0.0.0.0');
}

bootstrap();
