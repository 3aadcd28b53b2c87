import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module';
import { checkDatabasePassword } from './database';

async function bootstrap() {
  await checkDatabasePassword();
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000);
}
bootstrap().catch((error) => {
  console.error(error);
  process.exit(1);
});
