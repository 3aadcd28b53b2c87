'use strict';
// What a host answers on the ports where clients come in: each question on a new connection, so that each worker has its turn.
//
//   node - HEADER NAME=PORT=ROUTE=TIMES... < answers.cjs
//
// Prints one event `answers` for each process. The workers' own sockets can't tell who holds the port; this can.

const fs = require('fs');
const http = require('http');
const https = require('https');

const LIMIT_MS = 3000;
const LISTENING = '0A'; // the state in /proc/net/tcp

const read = (file) => {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

/** Give the address at which somebody listens on a port, or null; one that is bound to all is asked at home. */
function addressOf(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  for (const [file, home, spell] of [['/proc/net/tcp', '127.0.0.1', v4], ['/proc/net/tcp6', '::1', v6]]) {
    for (const line of read(file).split('\n').slice(1)) {
      const [, local = '', , state] = line.trim().split(/\s+/);
      if (state === LISTENING && local.endsWith(`:${hex}`)) return /^0+:/.test(local) ? home : spell(local.split(':')[0]);
    }
  }
  return null;
}

/** Spell an address as people do: the kernel prints its 32-bit words in the machine's own order of bytes. */
const bytes = (hex) => hex.match(/.{8}/g).flatMap((word) => word.match(/../g).reverse());
const v4 = (hex) => bytes(hex).map((byte) => Number.parseInt(byte, 16)).join('.');
const v6 = (hex) => bytes(hex).join('').match(/.{4}/g).join(':');

/** Ask once; the answer's status is 0 where none came. */
function ask(client, host, port, path, header) {
  const begun = Date.now();
  return new Promise((resolve) => {
    const request = client.get({ host, port, path, agent: false, rejectUnauthorized: false, headers: { 'user-agent': 'gapless' } });
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${LIMIT_MS} ms`)), LIMIT_MS);
    const done = (answer) => {
      clearTimeout(timer);
      resolve({ ms: Date.now() - begun, ...answer });
    };
    request.on('response', (response) => {
      response.on('error', () => {}).resume();
      done({ status: response.statusCode, release: (header && response.headers[header]) || null });
    });
    request.on('error', (err) => done({ status: 0, release: null, why: err.message }));
  });
}

async function answers(header, [name, port, path, times]) {
  const host = addressOf(port);
  const event = { event: 'answers', name, port, route: path, listening: host !== null, asked: [] };
  if (host === null) return event;
  const all = (client) => Promise.all(Array.from({ length: times }, () => ask(client, host, port, path, header)));
  event.asked = await all(http);
  // An app that speaks TLS itself hangs up on plain words at once; who gives no answer in time is not asked twice.
  if (event.asked.every(({ status, ms }) => status === 0 && ms < LIMIT_MS)) {
    const secure = await all(https);
    if (secure.some(({ status }) => status)) event.asked = secure;
  }
  return event;
}

const [header, ...words] = process.argv.slice(2);
const named = words.map((word) => /^(.*?)=(\d+)=(.*)=(\d+)$/.exec(word)).map(([, name, port, route, times]) => [name, Number(port), route, Number(times)]);
Promise.all(named.map((each) => answers(header.toLowerCase(), each))).then((found) => {
  const lines = found.map((event) => `${process.env.GAPLESS_MARK || ''} ${JSON.stringify(event)}\n`);
  process.stdout.write(lines.join(''), () => process.exit(0));
});
