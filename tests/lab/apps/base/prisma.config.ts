import 'dotenv/config';
import { PrismaLibSQL } from '@prisma/adapter-libsql';
import { defineConfig } from 'prisma/config';

process.env.CHECKPOINT_DISABLE = '1';

// The app goes on writing while we migrate: wait for SQLite's lock, do not fail on it.
class PatientLibSQL extends PrismaLibSQL {
  async connect() {
    const connection = await super.connect();
    await connection.queryRaw({ sql: 'PRAGMA busy_timeout = 5000', args: [], argTypes: [] });
    return connection;
  }
}

export default defineConfig({
  schema: 'prisma/schema.prisma',
  experimental: { adapter: true },
  engine: 'js',
  adapter: async () => new PatientLibSQL({ url: process.env.DATABASE_URL! }),
});
