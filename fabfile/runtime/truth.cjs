'use strict';
// The truth of one host: what runs, from PM2's daemon, /proc and each worker's own socket. Reads only.
//
//   node truth.cjs ROOT PM2_DIR APP=PORT=ROUTE...      (or piped into `node - ROOT PM2_DIR ...`; PORT and ROUTE may be empty)
//
// Prints one JSON object. Never prints an environment: PM2's list holds every secret of the app.

const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');

const RPC_LIMIT_MS = 10000; // a wedged daemon answers never; facts: SIGSTOP made `pm2 jlist` hang for ever
const HEALTH_LIMIT_MS = 5000;

// PM2 and its CLI helpers print banners on stdout; stdout is ours alone.
console.log = console.info = console.warn = console.error;

/** Return fn's value, or `otherwise` when it throws. */
const attempt = (fn, otherwise = null) => {
  try {
    return fn();
  } catch {
    return otherwise;
  }
};

const read = (file) => attempt(() => fs.readFileSync(file, 'utf8'));
const readJson = (file) => attempt(() => JSON.parse(fs.readFileSync(file, 'utf8')));
const alive = (pid) => pid > 0 && attempt(() => process.kill(pid, 0), false);
const pm2Home = () => process.env.PM2_HOME || path.join(process.env.HOME || os.homedir(), '.pm2');

/** Fail with a clear error when `promise` takes longer than `ms`. */
function within(ms, what, promise) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} gave no answer within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** Say what is free where the app lives, or would live; `inodes` is null where the file system counts none. */
function room(root) {
  let place = root;
  while (!fs.existsSync(place)) place = path.dirname(place);
  const { bavail, bsize, files, ffree } = fs.statfsSync(place);
  return { place, mb: Math.floor((bavail * bsize) / 1048576), inodes: files ? ffree : null };
}

/** Describe the daemon without waking one up: connecting through PM2 spawns a daemon where none lives. */
function daemon() {
  const pid = Number(read(path.join(pm2Home(), 'pm2.pid'))) || null;
  const living = pid !== null && alive(pid) && /PM2|God/.test(read(`/proc/${pid}/cmdline`) || '');
  return { pid: living ? pid : null, home: pm2Home(), socket: fs.existsSync(path.join(pm2Home(), 'rpc.sock')) };
}

/**
 * Connect to the daemon of this user, and never start one: by PM2's own client alone, which takes half the time of the whole module to load.
 * Measured: 40 ms of CPU instead of 75, of every look at every host.
 */
async function connect(pm2Dir) {
  const client = new (require(path.join(pm2Dir, 'lib/Client.js')))();
  await within(RPC_LIMIT_MS, 'PM2', new Promise((resolve, reject) => {
    client.launchRPC((err) => (err ? reject(err) : resolve()));
    client.client_sock.once('reconnect attempt', () => reject(new Error('nobody listens on its socket')));
  }));
  return { Client: client, disconnect: () => client.disconnectRPC() };
}

/** Connect with the whole of PM2, which starts processes, and a daemon where there is none. */
async function wake(pm2Dir) {
  const pm2 = require(pm2Dir);
  await within(RPC_LIMIT_MS, 'PM2', new Promise((resolve, reject) => pm2.connect((err) => (err ? reject(err) : resolve()))));
  return pm2;
}

/** Call the daemon directly. Ids must be numbers: PM2 compares them with === (the CLI's strings never match). */
function rpc(pm2, method, args, limit = RPC_LIMIT_MS) {
  const call = new Promise((resolve, reject) => {
    pm2.Client.executeRemote(method, args, (err, answer) => (err ? reject(asError(err)) : resolve(answer)));
  });
  return limit === Infinity ? call : within(limit, `PM2's ${method}`, call).catch(blame);
}

/** Say of a call that failed that nobody was there to answer it, if that is why. */
function blame(err) {
  throw daemon().pid ? err : new Error(`PM2's daemon has died: ${err.message}`);
}

const asError = (err) => (err instanceof Error ? err : new Error((err && (err.message || err.msg)) || JSON.stringify(err)));

/** List PM2's processes by the fields we need; the environment stays behind. */
async function list(pm2, root) {
  const all = await rpc(pm2, 'getMonitorData', {});
  return all.map((item) => describe(item, root));
}

function describe({ pid, name, pm_id: id, pm2_env: env, monit }, root) {
  return {
    id, pid, name,
    status: env.status,
    mode: env.exec_mode === 'cluster_mode' ? 'cluster' : 'fork',
    restarts: env.restart_time,
    started: env.pm_uptime,
    script: env.pm_exec_path,
    cwd: env.pm_cwd,
    errors: env.pm_err_log_path,
    gated: env.pm_exec_path === path.join(root, '.gapless', 'gate.cjs'),
    memory: monit && monit.memory,
    cpu: monit && monit.cpu,
    ...standing(pid, root),
  };
}

/** Say of a process where it stands, whether that directory is gone, and whether somebody has stopped it (SIGSTOP). */
function standing(pid, root) {
  const cwd = cwdOf(pid);
  return { release: releaseOf(pid, root), gone: cwd !== null && cwd.endsWith(DELETED), halted: pid > 0 && isHalted(pid) };
}

const DELETED = ' (deleted)';
const cwdOf = (pid) => (pid ? attempt(() => fs.readlinkSync(`/proc/${pid}/cwd`)) : null);

/** Say which release a process runs: by the directory it stands in, not by what anybody wrote down. */
function releaseOf(pid, root) {
  const cwd = cwdOf(pid);
  const base = attempt(() => fs.realpathSync(path.join(root, 'releases')));
  if (!cwd || !base || !cwd.startsWith(base + path.sep)) return null;
  return cwd.slice(base.length + 1).split(path.sep)[0].replace(DELETED, '');
}

const runDir = (root) => path.join(root, '.gapless', 'run');
const worker = (root, pid) => readJson(path.join(runDir(root), `worker-${pid}.json`));

/** Read all worker records of this app, the living only. */
function workers(root) {
  const names = attempt(() => fs.readdirSync(runDir(root)), []);
  return names
    .map((name) => /^worker-(\d+)\.json$/.exec(name))
    .filter((match) => match && alive(Number(match[1])))
    .map((match) => worker(root, match[1]))
    .filter(Boolean);
}

/** Ask one worker for its health on its own socket. */
function health(root, pid, route, limit = HEALTH_LIMIT_MS) {
  const begun = Date.now();
  return new Promise((resolve) => {
    const done = (answer) => resolve({ ms: Date.now() - begun, ...answer });
    const request = http.get(
      { socketPath: path.join(runDir(root), `health-${pid}.sock`), path: route, agent: false, timeout: limit },
      (response) => {
        response.resume();
        done({ status: response.statusCode, release: response.headers['x-release'] || null });
      },
    );
    request.on('timeout', () => request.destroy(new Error(`no answer within ${limit} ms`)));
    request.on('error', (err) => done({ status: 0, why: err.message }));
  });
}

/** Name where `current` leads: a complete release, or what is wrong with it. */
function current(root) {
  const link = path.join(root, 'current');
  const stat = attempt(() => fs.lstatSync(link));
  if (!stat) return { state: 'absent', release: null };
  if (!stat.isSymbolicLink()) return { state: stat.isDirectory() ? 'directory' : 'file', release: null };
  const base = attempt(() => fs.realpathSync(path.join(root, 'releases')));
  const real = attempt(() => fs.realpathSync(link));
  if (!real) return { state: 'dangling', release: path.basename(fs.readlinkSync(link)) };
  if (path.dirname(real) !== base) return { state: 'outside', release: null };
  const id = path.basename(real);
  return { state: marker(root, id) ? 'ok' : 'incomplete', release: id };
}

const marker = (root, id) => readJson(path.join(root, 'releases', id, '.gapless.json'));

/** List the releases on this host, oldest first; only directories named like ours. */
function releases(root) {
  const names = attempt(() => fs.readdirSync(path.join(root, 'releases')), []);
  return names
    .filter((name) => /^\d+-[0-9a-f]+$/.test(name))
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1))
    .map((id) => {
      const settings = marker(root, id);
      const release = path.join(root, 'releases', id);
      return {
        id,
        complete: settings !== null,
        commit: settings && settings.commit,
        ref: settings && settings.ref,
        artifact: (settings && settings.artifact) || null,
        built: attempt(() => Math.round(fs.statSync(path.join(release, settings ? '.gapless.json' : '.')).mtimeMs)),
        bad: fs.existsSync(path.join(release, '.gapless-bad')),
        stable: fs.existsSync(path.join(release, '.gapless-stable')),
      };
    });
}

/** List the artifacts that are whole here, by their sha256. */
const artifacts = (root) => attempt(() => fs.readdirSync(path.join(root, '.gapless', 'artifacts')), []).filter((name) => /^[0-9a-f]{64}$/.test(name));

/** Say whether the process that a pid file names still lives; the pid may have been given to another one since. */
function isAtWork(file) {
  const [pid, started] = (read(file) || '0 ').split(' ');
  return Number(pid) > 0 && String(startOf(pid)) === started;
}

/** List the runs whose driver is at work on this host. */
function driving(root) {
  const runs = path.join(root, '.gapless', 'runs');
  return attempt(() => fs.readdirSync(runs), []).filter((run) => isAtWork(path.join(runs, run, 'driver.pid')));
}

/** List the migrations that were begun on this host, oldest first: done, failed, at work, or unknown. */
function migrations(root) {
  const runs = path.join(root, '.gapless', 'runs');
  return attempt(() => fs.readdirSync(runs), [])
    .map((run) => migrationOf(path.join(runs, run), run))
    .filter(Boolean)
    .sort((a, b) => a.at - b.at);
}

function migrationOf(dir, run) {
  const events = (read(path.join(dir, 'migrate.jsonl')) || '').split('\n').map((line) => attempt(() => JSON.parse(line))).filter(Boolean);
  const began = events.find(({ event }) => event === 'begin');
  const end = events.findLast(({ event }) => event === 'done' || event === 'broken');
  if (!began) return null;
  const outcome = end ? { done: 'done', broken: 'failed' }[end.event] : isAtWork(path.join(dir, 'migrate.pid')) ? 'at work' : 'unknown';
  return { run, release: began.release, at: began.at, outcome };
}

/** List children of the daemon that stand in one of our releases but that PM2 no longer lists. */
function strays(root, daemonPid, listed) {
  if (!daemonPid) return [];
  const known = new Set(listed.map((item) => item.pid));
  return attempt(() => fs.readdirSync('/proc'), [])
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => !known.has(pid) && parentOf(pid) === daemonPid)
    .map((pid) => {
      const { name = null, pm_id: id = null, state = null } = worker(root, pid) || {};
      return { pid, name, id, release: releaseOf(pid, root), state };
    })
    .filter((stray) => stray.release && stray.state !== 'stopping');
}

/**
 * List all living workers of ours that PM2 does not list: its strays, and by their own records those that outlived their daemon, stand
 * in a directory that was moved away, or belong to a daemon that can't be asked.
 */
function unlisted(root, daemonPid, listed) {
  const found = strays(root, daemonPid, listed);
  const known = new Set([...listed, ...found].map(({ pid }) => pid));
  const gate = path.join(root, '.gapless', 'gate.cjs');
  const others = workers(root)
    .filter(({ pid, state }) => !known.has(pid) && (state !== 'stopping' || parentOf(pid) !== daemonPid))
    .map(({ pid, name, pm_id: id, state }) => ({ pid, name, id, release: releaseOf(pid, root), state }))
    .filter(({ pid, release }) => release || commandOf(pid).includes(gate)); // a record may name a pid that is another's by now
  return [...found, ...others];
}

/** Split /proc/PID/stat after the command, which may hold blanks; field 0 is the state (proc(5) counts it as 3). */
const statOf = (pid) => (read(`/proc/${pid}/stat`) || '').replace(/^.*\) /s, '').split(' ');
const isHalted = (pid) => statOf(pid)[0] === 'T';
const parentOf = (pid) => Number(statOf(pid)[1]);
const startOf = (pid) => statOf(pid)[19] || '';

/** Find who listens on a TCP port of this host: pid and command, as far as /proc lets us look. */
function portHolder(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const inodes = new Set();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of (read(table) || '').split('\n').slice(1)) {
      const columns = line.trim().split(/\s+/);
      if (columns[3] === '0A' && columns[1].endsWith(`:${hex}`)) inodes.add(`socket:[${columns[9]}]`);
    }
  }
  if (!inodes.size) return null;
  for (const pid of attempt(() => fs.readdirSync('/proc'), []).filter((name) => /^\d+$/.test(name))) {
    for (const fd of attempt(() => fs.readdirSync(`/proc/${pid}/fd`), [])) {
      if (inodes.has(attempt(() => fs.readlinkSync(`/proc/${pid}/fd/${fd}`)))) return { pid: Number(pid), command: commandOf(pid) };
    }
  }
  return { pid: null, command: 'a process of another user' };
}

const commandOf = (pid) => (read(`/proc/${pid}/cmdline`) || '').split('\0').join(' ').trim().slice(0, 120);

const pm2Version = (pm2Dir) => (readJson(path.join(pm2Dir, 'package.json')) || {}).version;

/**
 * Tell our scripts on this host from others by one hash over their names and texts, so that they are sent only when they differ.
 *
 * It counts only if what says so without reading them says the same: where that is missing they are to be sent again, and it with them.
 */
function runtime(root) {
  const hash = require('crypto').createHash('sha256');
  const dir = path.join(root, '.gapless');
  for (const name of attempt(() => fs.readdirSync(dir), []).filter((each) => each.endsWith('.cjs')).sort()) {
    hash.update(`${name}\n${read(path.join(dir, name))}\n`);
  }
  const found = hash.digest('hex');
  return (read(path.join(dir, 'runtime')) || '').trim() === found ? found : '';
}

/** Name the ports of processes that don't run here yet, and who holds them; in cluster mode that is PM2's daemon. */
function taken(ports, god, processes) {
  return [...ports]
    .filter(([name, port]) => port && !processes.some((item) => item.name === name))
    .map(([name, port]) => ({ name, port, ...portHolder(port) }))
    .filter(({ command, pid }) => command && pid !== god.pid);
}

/** List what PM2 would start after a reboot, with all that it knows of it: each holds an environment. */
const saved = () => readJson(path.join(pm2Home(), 'dump.pm2')) || [];

/** Say what compiled modules depend on: system, processor, C library, and node's major version. */
function machine() {
  const start = attempt(() => {
    const handle = fs.openSync(process.execPath);
    const bytes = Buffer.alloc(4096); // the name of its loader stands near the beginning
    fs.readSync(handle, bytes);
    fs.closeSync(handle);
    return bytes.toString('latin1');
  }, '');
  const libc = start.includes('/ld-musl-') ? 'musl ' : process.platform === 'linux' ? 'glibc ' : '';
  return `${process.platform} ${process.arch} ${libc}node ${process.versions.node.split('.')[0]}`;
}

/** Gather everything about one app root; `named` has name, port and health route (or null) of its PM2 processes. */
async function facts(root, pm2Dir, named) {
  const ports = new Map(named.map(({ name, port }) => [name, port]));
  const routes = new Map(named.map(({ name, route }) => [name, route]));
  const god = daemon();
  const answer = {
    node: process.versions.node, machine: machine(), path: process.env.PATH, pm2: pm2Dir, version: pm2Version(pm2Dir),
    cpus: os.availableParallelism(), root, room: attempt(() => room(root)), runtime: runtime(root), daemon: god,
    current: current(root), releases: releases(root), artifacts: artifacts(root), processes: [], strays: [], foreign: [], trouble: null,
    migrations: migrations(root), driving: driving(root), taken: [], saved: saved().map((env) => env.name),
    pinned: Object.keys((readJson(path.join(runDir(root), 'reload.json')) || {}).env_files || {}),
  };
  if (!god.pid) {
    answer.taken = taken(ports, god, []);
    answer.strays = unlisted(root, null, []);
    return answer;
  }
  // While a driver is at work it is the one that restarts workers.
  const { restarts: settled = {} } = (!answer.driving.length && readJson(path.join(runDir(root), 'settled.json'))) || {};
  try {
    if (isHalted(god.pid)) throw new Error('it is halted by a signal (SIGSTOP)');
    // To wait for an answer would be in vain.
    if (!god.socket) throw new Error(`its socket ${god.home}/rpc.sock is gone, so nobody can talk to it`);
    const pm2 = await connect(pm2Dir);
    const all = await list(pm2, root);
    const [ours, others] = [true, false].map((known) => all.filter((item) => ports.has(item.name) === known));
    answer.processes = await Promise.all(ours.map((item) => withHealth(item, root, settled, routes.get(item.name))));
    answer.strays = unlisted(root, god.pid, all);
    answer.foreign = others.filter((item) => item.release).map(({ name, id, pid, release }) => ({ name, id, pid, release }));
    answer.taken = taken(ports, god, answer.processes);
    god.version = await rpc(pm2, 'getVersion', {});
    pm2.disconnect();
  } catch (err) {
    answer.trouble = `PM2's daemon (pid ${god.pid}): ${err.message}`;
    if (!answer.processes.length) answer.strays = unlisted(root, god.pid, []);
  }
  return answer;
}

/** Ask a worker, unless it can't answer: a halted one would be waited for in vain. */
async function healthOf({ pid, halted }, root, route) {
  return halted ? { status: 0, ms: 0, why: 'it is halted (SIGSTOP)' } : health(root, pid, route);
}

/** Add what the worker itself says, how long it is up and how often PM2 had to restart it since the last deploy. */
async function withHealth(item, root, settled, usual) {
  const record = worker(root, item.pid);
  const settings = item.release && marker(root, item.release);
  const wanted = settings && settings.processes[item.name];
  // Where the release's directory was removed, hosts.yaml alone knows the route.
  const route = wanted ? wanted.health && wanted.health.path : usual;
  return {
    ...item,
    up_ms: Date.now() - item.started,
    died: Math.max(0, item.restarts - (settled[item.id] ?? item.restarts)),
    state: record && record.state,
    ports: (record && record.ports) || [],
    health: route && record ? await healthOf(item, root, route) : null,
  };
}

module.exports = {
  alive, asError, attempt, connect, current, daemon, facts, health, isAtWork, list, marker, portHolder, read, readJson, releaseOf, rpc, runDir, saved, startOf, strays,
  wake, within, worker, workers,
};

// Piped into `node -` there is no require.main at all; required by the driver it is the driver.
if (require.main === module || require.main === undefined) {
  const [root, pm2Dir, ...words] = process.argv.slice(2);
  const named = words.map((word) => /^(.*?)=(\d*)=(.*)$/.exec(word)).map(([, name, port, route]) => ({ name, port: Number(port) || null, route }));
  facts(root, pm2Dir, named).then(
    (answer) => {
      process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify({ event: 'facts', ...answer })}\n`, () => process.exit(0));
    },
    (err) => {
      process.stderr.write(`${err.message}\n`);
      process.exit(1);
    },
  );
}
