import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module';
import { connectQueue } from './queue';

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await connectQueue();
  await app.listen(process.env.PORT ?? 3000);
}
bootstrap();
