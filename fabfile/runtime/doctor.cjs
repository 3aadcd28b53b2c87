'use strict';
// What can be wrong with one host, as facts: the truth of it, and what status has no need to know. Judged by the controller.
//
//   doctor.cjs look ROOT PM2_DIR WANTED      WANTED: {processes: {name: {port, env_file, health}}, files, dirs}
//   doctor.cjs save PM2_DIR                  save PM2's list for the next boot
//
// Prints one event. Names variables and files, never what is in them.

const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const util = require('util');
const saved = require('./saved.cjs');
const truth = require('./truth.cjs');

const { attempt } = truth;
const MOST = 5000; // directory entries that are looked at
const RUNS = 20; // the newest ones tell how long a boot takes
const NAME = /^[A-Za-z_][A-Za-z0-9_.]*$/;

const ids = new Map((attempt(() => fs.readFileSync('/etc/passwd', 'utf8'), '') || '').split('\n').map((line) => line.split(':')).map(([name, , id]) => [id, name]));
const nameOf = (uid) => ids.get(String(uid)) || String(uid);
const me = process.getuid();
const text = (file) => attempt(() => fs.readFileSync(file, 'utf8'), '') || '';
const list = (dir) => attempt(() => fs.readdirSync(dir), []);
const may = (file, mode) => attempt(() => (fs.accessSync(file, mode), true), false);

/** Describe a file or directory, or say null: where it leads, whose it is, and who may do what with it. */
function describe(file) {
  const stat = attempt(() => fs.lstatSync(file));
  if (!stat) return null;
  const real = attempt(() => fs.statSync(file));
  const { mode, uid, size } = real || stat;
  return {
    path: file, dangling: !real, dir: !!real && real.isDirectory(), mode: (mode & 0o7777).toString(8), owner: nameOf(uid), mine: uid === me, size,
    readable: may(file, fs.constants.R_OK), writable: may(file, fs.constants.W_OK),
  };
}

// ---------------------------------------------------------------- files of the app

/** Say of something shared what it is, and whether the live release has a link to it or something of its own. */
function shared(root, name, kind) {
  const file = path.join(root, 'shared', name);
  const inside = path.join(root, 'current', name);
  const linked = attempt(() => fs.lstatSync(inside));
  const state = !linked ? 'none' : attempt(() => fs.realpathSync(inside) === fs.realpathSync(file), false) ? 'link' : linked.isSymbolicLink() ? 'astray' : 'own';
  return { name, kind, path: file, linked: state, is: describe(file) };
}

/** Read an env file as the gate does; name what is not a variable by its line, for what stands there may be a secret. */
function environment(root, name, file, files) {
  if (!file) return null;
  const place = files.includes(file) ? path.join(root, 'shared', file) : path.join(root, 'current', file);
  const is = describe(place);
  if (!is || is.dangling || !is.readable || is.dir) return { name, is, path: place, wrong: [], port: null };
  const content = text(place);
  const parsed = util.parseEnv(content);
  const lines = content.split('\n');
  const at = (key) => lines.findIndex((line) => line.includes(key.split('\n')[0])) + 1;
  const wrong = Object.entries(parsed).flatMap(([key, value]) => {
    if (!NAME.test(key)) return [{ line: at(key), why: 'is no NAME=value' }];
    return /^["'`]/.test(value) ? [{ line: at(`${key}=`) || at(key), why: `${key} begins with a quote that never ends` }] : [];
  });
  if (content.startsWith('\ufeff')) wrong.unshift({ line: 1, why: 'begins with a byte order mark, which becomes part of the first name' });
  if (content.includes('\0')) wrong.unshift({ line: lines.findIndex((line) => line.includes('\0')) + 1, why: 'holds a NUL byte' });
  // What comes after the last thing that was read as a variable was read as nothing.
  const rest = lines.findLastIndex((line) => line.trim() && !line.trim().startsWith('#'));
  if (rest >= 0 && !wrong.length && !lines[rest].includes('=') && !Object.values(parsed).some((value) => value.includes('\n'))) {
    wrong.push({ line: rest + 1, why: 'is no NAME=value' });
  }
  return { name, is, path: place, wrong, port: Number(parsed.PORT) || null, count: Object.keys(parsed).length };
}

/** Walk a directory to a depth, but not into what is large and nobody's business here. */
function* walk(dir, depth, budget) {
  for (const name of list(dir)) {
    if ((budget.left -= 1) < 0) return;
    const file = path.join(dir, name);
    const stat = attempt(() => fs.lstatSync(file));
    if (!stat) continue;
    yield { file, stat };
    if (stat.isDirectory() && depth > 0 && !['node_modules', 'mirror.git', 'deps', '.git'].includes(name)) yield* walk(file, depth - 1, budget);
  }
}

/** List what belongs to somebody else, with whether that is in our way. */
function foreign(root, home) {
  const places = [
    [root, 0, fs.constants.R_OK], [path.join(root, 'shared'), 3, fs.constants.R_OK], [path.join(root, 'releases'), 1, fs.constants.W_OK],
    [path.join(root, '.gapless'), 2, fs.constants.W_OK], [home, 1, fs.constants.W_OK],
  ];
  const budget = { left: MOST };
  return places.flatMap(([dir, depth, need]) =>
    [...walk(dir, depth, budget)]
      .filter(({ stat }) => stat.uid !== me)
      .map(({ file, stat }) => ({ path: file, owner: nameOf(stat.uid), blocks: !stat.isSymbolicLink() && !may(file, stat.isDirectory() ? need | fs.constants.R_OK | fs.constants.X_OK : need) })));
}

/** List what a run that died in the middle of a rename left; nobody reads these again. */
function leftovers(root) {
  const inside = path.join(root, '.gapless');
  const places = [[inside, /\.next$/], [path.join(inside, 'env'), /\.next$/], [path.join(inside, 'run'), /\.(next|tmp)$/], [path.join(root, 'releases'), /^\.pruned-/]];
  return places.flatMap(([dir, pattern]) => list(dir).filter((name) => pattern.test(name)).map((name) => path.join(dir, name)));
}

/** Find the options of the file system that a place lies on. */
function mountOptions(place) {
  const real = attempt(() => fs.realpathSync(place), place);
  const lines = text('/proc/self/mounts').split('\n').map((line) => line.split(' '));
  const over = lines.filter(([, point]) => point && (point === '/' || real === point || real.startsWith(`${point}/`)));
  const best = over.reduce((one, other) => (other[1].length >= one[1].length ? other : one), ['', '', '', '']);
  return best[3].split(',');
}

// ---------------------------------------------------------------- processes

const commandLine = (pid) => text(`/proc/${pid}/cmdline`).split('\0').join(' ').trim();
const userOf = (pid) => attempt(() => nameOf(fs.statSync(`/proc/${pid}`).uid));
const stat = (pid) => text(`/proc/${pid}/stat`).replace(/^.*\) /s, '').split(' ');
const parent = (pid) => Number(stat(pid)[1]) || 0;
const pids = () => list('/proc').filter((name) => /^\d+$/.test(name)).map(Number);

/** List the PM2 daemons of this host; `runs` if one of them has a child that has to do with this app. */
function gods(root) {
  const all = pids().map((pid) => ({ pid, match: /^PM2 v(\S+): God Daemon \((.*)\)/.exec(commandLine(pid)) })).filter(({ match }) => match);
  const real = attempt(() => fs.realpathSync(root), root);
  const ofApp = (pid) => {
    const where = attempt(() => fs.readlinkSync(`/proc/${pid}/cwd`), '');
    return where === real || where.startsWith(`${real}/`) || commandLine(pid).includes(`${root}/`) || commandLine(pid).includes(`${real}/`);
  };
  return all.map(({ pid, match }) => ({
    pid, version: match[1], home: match[2], user: userOf(pid), runs: pids().filter((child) => parent(child) === pid && ofApp(child)).length,
  }));
}

/** Say who listens on a port, and whether PM2's daemon, one of our workers or a daemon that has the app is among its ancestors. */
function holder(port, ours) {
  const found = truth.portHolder(port);
  if (!found || !found.pid) return found;
  let up = found.pid;
  while (up > 1 && !ours.has(up)) up = parent(up);
  return { ...found, user: userOf(found.pid), ours: ours.has(up) };
}

/** Ask for the health once more where the answer was not good: what a redirect leads to tells why. */
function ask(target, route, limit) {
  const begun = Date.now();
  return new Promise((resolve) => {
    const done = (answer) => resolve({ ms: Date.now() - begun, ...answer });
    const request = http.get({ ...target, path: route, agent: false, timeout: limit }, (response) => {
      response.resume();
      done({ status: response.statusCode, location: (response.headers.location || '').split('?')[0] });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${limit} ms`)));
    request.on('error', (err) => done({ status: 0, why: err.message }));
  });
}

/** Ask every worker by its own socket; a process that is not behind the gate by its port. */
async function healths(root, processes, wanted) {
  const asked = [];
  for (const [name, { health, port }] of Object.entries(wanted)) {
    if (!health) continue;
    const workers = processes.filter((item) => item.name === name && item.status === 'online');
    const gated = workers.filter((item) => item.state === 'open');
    for (const { pid, id } of gated) asked.push({ name, id, target: { socketPath: path.join(truth.runDir(root), `health-${pid}.sock`) }, health });
    if (workers.length && !workers.some((item) => item.gated) && port) asked.push({ name, id: null, target: { host: '127.0.0.1', port }, health });
  }
  return Promise.all(asked.map(async ({ name, id, target, health }) => ({ name, id, ...(await ask(target, health.path, health.timeout_ms)) })));
}

/** Give what PM2 was told of each worker and will do by itself, past us. */
const settings = ({ pm_id: id, name, pm2_env: env }) => ({
  id, name, listen_timeout: env.listen_timeout || 3000, kill_timeout: env.kill_timeout || 1600, wait_ready: !!env.wait_ready, autorestart: env.autorestart !== false,
  interpreter: path.basename(env.exec_interpreter || 'node'), wrapper: /(^|\/)(npm|npx|yarn|pnpm|npm-cli\.js|npx-cli\.js|yarn\.js|pnpm\.cjs|bash|sh)$/.test(env.pm_exec_path || '') ? path.basename(env.pm_exec_path).replace(/(-cli)?\.c?js$/, '') : null,
});

// ---------------------------------------------------------------- what earlier runs measured

/** Find the longest boot that the newest runs saw: from a worker's first sign of life until its health was good. */
function boots(root) {
  const runs = path.join(root, '.gapless', 'runs');
  const files = list(runs).map((run) => path.join(runs, run, 'driver.jsonl')).map((file) => ({ file, at: attempt(() => fs.statSync(file).mtimeMs, 0) }));
  const newest = files.filter(({ at }) => at).sort((a, b) => b.at - a.at).slice(0, RUNS);
  const found = newest.flatMap(({ file }) => bootsOf(file));
  return { count: found.length, longest: found.reduce((one, other) => (!one || other.ms > one.ms ? other : one), null) };
}

function bootsOf(file) {
  const events = text(file).split('\n').map((line) => attempt(() => JSON.parse(line))).filter((each) => each && each.event === 'worker');
  const since = new Map();
  const done = [];
  for (const { pid, at, state, release } of events) {
    if (state === 'boot' || state === 'held') since.set(pid, Math.min(at, since.get(pid) ?? at));
    else if (since.has(pid) && (state === 'settling' || state === 'open')) {
      done.push({ ms: at - since.get(pid), release, run: path.basename(path.dirname(file)) });
      since.delete(pid);
    }
  }
  return done;
}

// ---------------------------------------------------------------- all of it

/** Ask PM2's daemon what `truth` does not tell; a daemon that gave no answer there is not asked again. */
async function askDaemon(facts, wanted) {
  if (!facts.daemon.pid || facts.trouble) return { workers: [], report: null };
  const pm2 = await truth.connect(facts.pm2);
  const all = await truth.rpc(pm2, 'getMonitorData', {});
  const report = await truth.rpc(pm2, 'getReport', {}).catch(() => null);
  pm2.disconnect();
  return { workers: all.filter((item) => item.name in wanted).map(settings), report: report && { node: report.node_version, path: report.node_path } };
}

function dump(home) {
  const file = path.join(home, 'dump.pm2');
  const is = describe(file);
  const read = is && truth.readJson(file);
  return { path: file, is, broken: !!is && !Array.isArray(read) };
}

async function look(root, pm2Dir, { processes: wanted, files, dirs }) {
  const named = Object.entries(wanted).map(([name, { port, health }]) => ({ name, port, route: health && health.path }));
  const facts = await truth.facts(root, pm2Dir, named);
  const { home, pid: god } = facts.daemon;
  const { workers, report } = await askDaemon(facts, wanted);
  const daemons = gods(root);
  const having = daemons.filter(({ runs }) => runs).map(({ pid }) => pid);
  const ours = new Set([god, ...having, ...facts.processes.map((item) => item.pid)].filter(Boolean));
  const options = mountOptions(root);
  const binary = god && attempt(() => fs.readlinkSync(`/proc/${god}/exe`));
  return {
    facts,
    more: {
      user: nameOf(me), root: me === 0,
      addresses: Object.values(os.networkInterfaces()).flat().filter((each) => !each.internal).map((each) => each.address),
      places: Object.fromEntries(['', '.gapless', 'releases', 'shared'].map((name) => [name || 'root', describe(path.join(root, name))])),
      readonly: options.includes('ro'), noexec: options.includes('noexec'),
      shared: [...files.map((name) => shared(root, name, 'file')), ...dirs.map((name) => shared(root, name, 'dir'))],
      envs: Object.entries(wanted).map(([name, { env_file: file }]) => environment(root, name, file, files)).filter(Boolean),
      foreign: foreign(root, home), leftovers: leftovers(root), dump: dump(home),
      god: god ? { state: stat(god)[0], binary, gone: !!binary && !fs.existsSync(binary.replace(/ \(deleted\)$/, '')), report } : null,
      gods: daemons, workers, boots: boots(root), here: process.execPath,
      ports: named.filter(({ port }) => port).map(({ name, port }) => ({ name, port, holder: holder(port, ours) })),
      health: await healths(root, facts.processes, wanted),
    },
  };
}

async function save(pm2Dir) {
  if (!truth.daemon().pid) throw new Error("PM2's daemon does not run, so there is nothing to save");
  await saved.saveList(await truth.connect(pm2Dir));
  return {};
}

const [way, ...rest] = process.argv.slice(2);
const work = way === 'look' ? look(rest[0], rest[1], JSON.parse(rest[2])) : save(rest[0]);
work.then(
  (answer) => process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify({ event: 'looked', ...answer })}\n`, () => process.exit(0)),
  (err) => {
    process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify({ event: 'unlooked', why: err.message })}\n`, () => process.exit(1));
  },
);
