import { Controller, Get, InternalServerErrorException } from '@nestjs/common';

@Controller('health')
export class HealthController {
  @Get()
  check() {
    throw new InternalServerErrorException('cannot reach the payment service');
  }
}
