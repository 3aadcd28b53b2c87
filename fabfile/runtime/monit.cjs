'use strict';
// What the app's workers use and do right now, from PM2 and from the workers' own sockets. Reads only.
//
//   monit.cjs ROOT PM2_DIR WANTED       (by loader.cjs)
//
// WANTED is JSON: {names, every_ms}. Prints an event `sample` {machine, trouble, workers}, and with `every_ms` again and again.

const os = require('os');
const truth = require('./truth.cjs');

const APART_MS = 500; // PM2 counts CPU from one question to the next: the first answer is about nobody knows how long

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const print = (fields) => process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify({ event: 'sample', ...fields })}\n`);

/** Read one of PM2's metrics as a number, by its name; null where this worker has none. */
function metric(env, name) {
  const found = (env.axm_monitor || {})[name];
  const value = found === undefined ? null : Number(found.value ?? found);
  return Number.isFinite(value) ? value : null;
}

/** Add what HTTP and HTTPS say; null where neither says anything. */
function both(env, name, join) {
  const values = ['HTTP', 'HTTPS'].map((kind) => metric(env, name ? `${kind} ${name}` : kind)).filter((value) => value !== null);
  return values.length ? join(...values) : null;
}

const sum = (...values) => values.reduce((all, value) => all + value, 0);

async function sampled({ pid, name, pm_id: id, pm2_env: env, monit }, root, settled) {
  const record = truth.worker(root, pid);
  const release = truth.releaseOf(pid, root);
  const marker = release && truth.marker(root, release);
  const route = marker && marker.processes[name] && marker.processes[name].health;
  return {
    id, name, pid, release,
    status: env.status,
    state: record && record.state,
    restarts: env.restart_time,
    died: Math.max(0, env.restart_time - (settled[id] ?? env.restart_time)),
    up_ms: env.status === 'online' ? Date.now() - env.pm_uptime : null,
    cpu: monit ? monit.cpu : null,
    memory: monit ? monit.memory : null,
    lag_ms: metric(env, 'Event Loop Latency'),
    lag_p95_ms: metric(env, 'Event Loop Latency p95'),
    // PM2 calls it req/min; it is a moving average over a minute, per second.
    requests_per_s: both(env, '', sum),
    latency_p50_ms: both(env, 'Mean Latency', Math.max),
    latency_p95_ms: both(env, 'P95 Latency', Math.max),
    health: route && record ? await truth.health(root, pid, route.path) : null,
  };
}

function machine() {
  return { cpus: os.availableParallelism(), load: os.loadavg()[0], free: os.freemem(), memory: os.totalmem() };
}

async function main(root, pm2Dir, { names, every_ms: every }) {
  if (!truth.daemon().pid) return print({ machine: machine(), trouble: "PM2's daemon is not running", workers: [] });
  const pm2 = await truth.connect(pm2Dir);
  await truth.rpc(pm2, 'getMonitorData', {});
  await sleep(APART_MS);
  do {
    try {
      const { restarts: settled = {} } = truth.readJson(`${truth.runDir(root)}/settled.json`) || {};
      const mine = (await truth.rpc(pm2, 'getMonitorData', {})).filter((item) => names.includes(item.name));
      print({ machine: machine(), trouble: null, workers: await Promise.all(mine.map((item) => sampled(item, root, settled))) });
    } catch (err) {
      print({ machine: machine(), trouble: err.message, workers: [] });
    }
    if (every) await sleep(every);
  } while (every);
  pm2.disconnect();
  return undefined;
}

process.stdout.on('error', () => process.exit(0));

const [root, pm2Dir, wanted] = process.argv.slice(2);
main(root, pm2Dir, JSON.parse(wanted)).then(
  () => process.stdout.write('', () => process.exit(0)),
  (err) => {
    process.stderr.write(`${err.message}\n`);
    process.exit(1);
  },
);
