import { setTimeout } from 'node:timers/promises';
import { Controller, DefaultValuePipe, Get, ParseIntPipe, Query } from '@nestjs/common';
import { AppService } from './app.service';

@Controller()
export class AppController {
  constructor(private readonly appService: AppService) {}

  @Get()
  async greet() {
    await setTimeout(3000);
    return this.appService.greet();
  }

  @Get('version')
  version() {
    return this.appService.version();
  }

  @Get('env')
  env() {
    return this.appService.env();
  }

  @Get('slow')
  async slow(@Query('ms', new DefaultValuePipe(3000), ParseIntPipe) ms: number) {
    await setTimeout(ms);
    return { ...this.appService.version(), ms };
  }
}
