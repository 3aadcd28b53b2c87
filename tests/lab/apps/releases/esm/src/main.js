import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { handle } from './routes.cjs';

const { name } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));

const server = createServer(handle);
await new Promise((resolve) => server.listen(process.env.PORT ?? 3000, resolve));
console.log(`${name} listens`);
