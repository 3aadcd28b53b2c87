import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module';

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000, () => {
    setTimeout(() => {
      console.error('lost the message broker');
      process.exit(1);
    }, 5000);
  });
}
bootstrap();
