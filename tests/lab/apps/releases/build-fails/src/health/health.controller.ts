import { Controller, Get } from '@nestjs/common';

@Controller('health')
export class HealthController {
  @Get()
  check() {
    return { status: 'ok', release: process.env.GAPLESS_RELEASE.toLowerCase() };
  }
}
