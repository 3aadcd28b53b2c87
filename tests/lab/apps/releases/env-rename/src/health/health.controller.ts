import { Controller, Get, InternalServerErrorException } from '@nestjs/common';

@Controller('health')
export class HealthController {
  @Get()
  check() {
    if (process.env.DEMO_OLD !== undefined) {
      throw new InternalServerErrorException('DEMO_OLD is still set: it is called DEMO_NEW now');
    }
    return { status: 'ok', release: process.env.GAPLESS_RELEASE, demo: process.env.DEMO_NEW };
  }
}
