import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module';

if (!process.env.JWT_SECRET) {
  throw new Error('JWT_SECRET is not set');
}

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000);
}
bootstrap();
