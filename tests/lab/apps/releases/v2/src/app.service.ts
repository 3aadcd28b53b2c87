import { Injectable } from '@nestjs/common';
import { VERSION } from './version';

@Injectable()
export class AppService {
  greet() {
    return { greeting: process.env.GREETING ?? 'Welcome back', version: VERSION, pid: process.pid };
  }

  version() {
    return { version: VERSION, pid: process.pid };
  }

  env() {
    const shown = Object.entries(process.env).filter(([key]) => key.startsWith('DEMO_') || key === 'GREETING');
    return { keys: Object.keys(process.env).sort(), values: Object.fromEntries(shown), pid: process.pid };
  }
}
