'use strict';
// All that PM2 runs for this user, app by app, whoever started it and how. Reads only, and wakes no daemon up.
//
//   node running.cjs PM2_DIR      (or piped into `node - PM2_DIR`)
//
// Prints one JSON object. Never prints an environment or arguments: they hold secrets of the apps.

const fs = require('fs');
const os = require('os');
const path = require('path');

const LIMIT_MS = 10000; // a wedged daemon answers never

// PM2 prints banners on stdout; stdout is ours alone.
console.log = console.info = console.warn = console.error;

const attempt = (fn, otherwise = null) => {
  try {
    return fn();
  } catch {
    return otherwise;
  }
};
const read = (file) => attempt(() => fs.readFileSync(file, 'utf8'), '');
const pids = () => attempt(() => fs.readdirSync('/proc'), []).filter((name) => /^\d+$/.test(name)).map(Number);
const parentOf = (pid) => Number(read(`/proc/${pid}/stat`).replace(/^.*\) /s, '').split(' ')[1]);

/** Say whether PM2's daemon lives: connecting through PM2 would start one. */
function daemonLives() {
  const home = process.env.PM2_HOME || path.join(process.env.HOME || os.homedir(), '.pm2');
  const pid = Number(read(path.join(home, 'pm2.pid')));
  return pid > 0 && /PM2|God/.test(read(`/proc/${pid}/cmdline`));
}

/** Ask the daemon for its list. */
function list(pm2Dir) {
  const pm2 = require(pm2Dir);
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`PM2 gave no answer within ${LIMIT_MS / 1000} s`)), LIMIT_MS).unref();
    pm2.connect((err) => {
      if (err) reject(err);
      else pm2.Client.executeRemote('getMonitorData', {}, (failed, all) => (failed ? reject(failed) : resolve(all)));
    });
  });
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

if (daemonLives()) {
  list(process.argv[2]).then((all) => tell(all.map(describe))).catch((err) => {
    process.stderr.write(`${(err && err.message) || err}\n`);
    process.exit(1);
  });
} else {
  tell([]);
}
