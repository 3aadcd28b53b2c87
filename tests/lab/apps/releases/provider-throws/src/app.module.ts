import { Module } from '@nestjs/common';
import { AppController } from './app.controller';
import { AppService } from './app.service';
import { HealthController } from './health/health.controller';
import { ItemsModule } from './items/items.module';
import { PaymentsService } from './payments.service';

@Module({
  imports: [ItemsModule],
  controllers: [AppController, HealthController],
  providers: [AppService, PaymentsService],
})
export class AppModule {}
