'use strict';
// All that PM2 runs for this user, app by app, whoever started it and how. Reads only, and wakes no daemon up.
//
//   running.cjs PM2_DIR      (by loader.cjs)
//
// Prints one JSON object. Never prints an environment or arguments: they hold secrets of the apps.

const fs = require('fs');
const path = require('path');
const { attempt, connect, daemon, read, rpc } = require('./truth.cjs');

const pids = () => attempt(() => fs.readdirSync('/proc'), []).filter((name) => /^\d+$/.test(name)).map(Number);
const parentOf = (pid) => Number((read(`/proc/${pid}/stat`) || '').replace(/^.*\) /s, '').split(' ')[1]);

/** Ask the daemon for its list, if there is one. */
async function list(pm2Dir) {
  return daemon().pid ? rpc(await connect(pm2Dir), 'getMonitorData', {}) : [];
}

/** Find a port that a process or one below it listens on; PM2's own sockets of a cluster are not seen by this. */
function portOf(pid) {
  const sockets = new Map();
  for (const line of `${read('/proc/net/tcp')}\n${read('/proc/net/tcp6')}`.split('\n')) {
    const columns = line.trim().split(/\s+/);
    if (columns[3] === '0A') sockets.set(`socket:[${columns[9]}]`, parseInt(columns[1].split(':')[1], 16));
  }
  const tree = new Set([pid]);
  for (const each of pids()) if (tree.has(parentOf(each))) tree.add(each);
  for (const each of tree) {
    for (const fd of attempt(() => fs.readdirSync(`/proc/${each}/fd`), [])) {
      const port = sockets.get(attempt(() => fs.readlinkSync(`/proc/${each}/fd/${fd}`)));
      if (port) return port;
    }
  }
  return null;
}

function describe({ pid, name, pm2_env: env }) {
  const port = Number(env.PORT || (env.env && env.env.PORT)) || (pid ? portOf(pid) : null);
  return {
    name, port, cwd: env.pm_cwd, script: env.pm_exec_path, node: env.exec_interpreter,
    mode: env.exec_mode === 'cluster_mode' ? 'cluster' : 'fork',
    wrapped: /^(npm|npx|yarn|pnpm)(-cli)?(\.c?js)?$/.test(path.basename(env.pm_exec_path || '')),
  };
}

function tell(apps) {
  const event = { event: 'running', node: process.execPath, version: process.versions.node, apps };
  process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify(event)}\n`, () => process.exit(0));
}

list(process.argv[2]).then((all) => tell(all.map(describe))).catch((err) => {
  process.stderr.write(`${(err && err.message) || err}\n`);
  process.exit(1);
});
