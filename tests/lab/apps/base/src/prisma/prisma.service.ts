import { Injectable, OnModuleInit } from '@nestjs/common';
import { PrismaLibSQL } from '@prisma/adapter-libsql';
import { PrismaClient } from '../generated/prisma/client';

@Injectable()
export class PrismaService extends PrismaClient implements OnModuleInit {
  constructor() {
    super({ adapter: new PrismaLibSQL({ url: process.env.DATABASE_URL! }) });
  }

  // Workers of several hosts write to one file: without these SQLite answers "database is locked" at once.
  async onModuleInit() {
    await this.$queryRaw`PRAGMA busy_timeout = 5000`;
    await this.$queryRaw`PRAGMA journal_mode = WAL`;
  }
}
