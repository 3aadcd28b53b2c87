import { setTimeout } from 'node:timers/promises';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module';

async function warmCaches() {
  await setTimeout(8000);
}

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await warmCaches();
  await app.listen(process.env.PORT ?? 3000);
}
bootstrap();
