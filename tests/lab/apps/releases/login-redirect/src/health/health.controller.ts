import { Controller, Get, Redirect } from '@nestjs/common';

@Controller()
export class HealthController {
  @Get('health')
  @Redirect('/login')
  check() {}

  @Get('login')
  login() {
    return 'Please sign in';
  }
}
