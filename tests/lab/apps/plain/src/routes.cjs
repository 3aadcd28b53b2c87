const { setTimeout } = require('node:timers/promises');
const items = require('./items.cjs');
const version = require('./version.cjs');

const about = () => ({ version, pid: process.pid });

function env() {
  const shown = Object.entries(process.env).filter(([key]) => key.startsWith('DEMO_') || key === 'GREETING');
  return { keys: Object.keys(process.env).sort(), values: Object.fromEntries(shown), pid: process.pid };
}

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return JSON.parse(text);
}

const routes = {
  'GET /': () => ({ greeting: process.env.GREETING ?? 'Hello', ...about() }),
  'GET /version': about,
  'GET /env': env,
  'GET /health': () => ({ status: 'ok', release: process.env.GAPLESS_RELEASE }),
  'GET /slow': async (req, url) => {
    const ms = Number(url.searchParams.get('ms') ?? 3000);
    await setTimeout(ms);
    return { ...about(), ms };
  },
  'GET /items/count': items.count,
  'POST /items': async (req) => items.create((await body(req)).id),
};

async function handle(req, res) {
  const url = new URL(req.url, 'http://localhost');
  const route = routes[`${req.method} ${url.pathname}`];
  const send = (status, answer) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  if (!route) return send(404, { message: 'Not Found' });
  try {
    send(req.method === 'POST' ? 201 : 200, await route(req, url));
  } catch (error) {
    send(500, { message: error.message });
  }
}

module.exports = { handle, routes };
