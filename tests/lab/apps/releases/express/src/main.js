const express = require('express');
const { setTimeout } = require('node:timers/promises');
const items = require('./items.cjs');
const version = require('./version.cjs');

const app = express();
app.use(express.json());

app.get('/', (req, res) => {
  res.json({ greeting: process.env.GREETING ?? 'Hello', version, pid: process.pid });
});

app.get('/version', (req, res) => {
  res.json({ version, pid: process.pid });
});

app.get('/env', (req, res) => {
  const shown = Object.entries(process.env).filter(([key]) => key.startsWith('DEMO_') || key === 'GREETING');
  res.json({ keys: Object.keys(process.env).sort(), values: Object.fromEntries(shown), pid: process.pid });
});

app.get('/health', (req, res) => {
  res.json({ status: 'ok', release: process.env.GAPLESS_RELEASE });
});

app.get('/slow', async (req, res) => {
  const ms = Number(req.query.ms ?? 3000);
  await setTimeout(ms);
  res.json({ version, pid: process.pid, ms });
});

app.post('/items', async (req, res) => {
  res.status(201).json(await items.create(req.body.id));
});

app.get('/items/count', async (req, res) => {
  res.json(await items.count());
});

app.listen(process.env.PORT ?? 3000);
