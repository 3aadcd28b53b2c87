import { Controller, Get } from '@nestjs/common';

let leak: NodeJS.Timeout | undefined;

@Controller('health')
export class HealthController {
  @Get()
  check() {
    leak ??= setTimeout(() => {
      console.error('out of connections');
      process.exit(1);
    }, 5000);
    return { status: 'ok', release: process.env.GAPLESS_RELEASE };
  }
}
