import { createServer } from 'node:http';
import behaviour from './behaviour.cjs';
import routes from './routes.cjs';

await behaviour.boot();
const server = createServer({ keepAliveTimeout: behaviour.keepAliveMs }, routes.handle);
await new Promise((resolve) => server.listen(behaviour.port, resolve));
console.log('listening');
