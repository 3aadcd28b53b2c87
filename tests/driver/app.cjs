'use strict';

/**
 * An app without dependencies. What it does wrong stands in the file NAME.mode of its release, or .mode for all processes:
 *   sick      health answers 500, with SECRET; read at each question, so that a release can turn unhealthy
 *   lazy      health takes 300 ms
 *   throws    it dies at its start;  clones-throw: all but the first instance do;  third-throws: that one does, and the second is slow
 *   tells     it prints SECRET and dies of it
 *   slow      it takes a second until it listens;  slower: four
 *   hangs-once  it never listens, but the next one does
 * BOOT_MS is how long it always takes until it listens.
 */

const fs = require('node:fs');
const http = require('node:http');

const { APP, BOOT_MS = 0, COLOUR, NODE_APP_INSTANCE: instance, PORT, RED, SECRET } = process.env;
const home = process.cwd();

function mode() {
  for (const file of [`${home}/${APP}.mode`, `${home}/.mode`]) if (fs.existsSync(file)) return fs.readFileSync(file, 'utf8');
  return '';
}

function answer(request, response) {
  const json = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.url === '/health' && mode() === 'sick') return json(500, { status: 'database is away', url: SECRET });
  if (request.url === '/echo') return request.pipe(response);
  const reply = () => json(200, { pid: process.pid, app: APP, colour: COLOUR });
  if (request.url === '/health' && mode() === 'lazy') return setTimeout(reply, 300);
  return request.url === '/slow' ? setTimeout(reply, 400) : reply();
}

const dies = { throws: true, 'clones-throw': instance !== '0', 'third-throws': instance === '2' };
const waits = { slow: 1000, slower: 4000, 'third-throws': instance === '1' ? 4000 : 0 };

if (dies[mode()]) throw new Error('the release is bad');
if (mode() === 'tells') {
  console.log(`connecting with ${SECRET} (${encodeURIComponent(SECRET)})`);
  throw new Error(`${'x'.repeat(450)} bad key ${SECRET} ${'z'.repeat(100)}`);
}
if (COLOUR === 'broken') throw new Error('COLOUR is broken');
if (mode() === 'hangs-once') {
  fs.writeFileSync(`${home}/${APP}.mode`, '');
  return void setInterval(() => {}, 1000);
}
setTimeout(() => http.createServer({ keepAliveTimeout: 1000 }, answer).listen(Number(PORT), '127.0.0.1'), waits[mode()] ?? Number(BOOT_MS));
