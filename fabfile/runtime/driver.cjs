'use strict';
// The gated reload of one host. Runs in a session of its own, so that no lost link can cut it in half.
//
//   node driver.cjs start ROOT RUN < plan.json     (journal.cjs has the ways in)
//
// One worker at a time, or two of a host that serves nobody: reload it by numeric id, wait until its gate opened, go on.
// When a gate stays shut: link back, end the held worker by pid (its respawn is old code), reload those already done,
// verify. Every step is journalled before the next begins; the last event is `done`, `reverted` or `broken`.

const fs = require('fs');
const os = require('os');
const path = require('path');
const { EventEmitter } = require('events');
const journal = require('./journal.cjs');
const saved = require('./saved.cjs');
const truth = require('./truth.cjs');

const { replaceFile } = saved;

const TICK_MS = 50;
const LIST_MS = 500; // how often PM2 is asked: each answer carries every app's environment. And our own files, where no change is told
const QUIET_LOOKS = 4; // looks without anything to remove, until it counts as removed
const BACK = 3; // times its deadline that a worker has on the way back: it is known to boot, and a busy host boots slowly
const AT_ONCE = Math.min(2, os.availableParallelism()); // workers of a drained host that are replaced together: as many as PM2 itself takes
const LATE_MS = 5000; // that a worker has to say that it could not keep its deadline
const SLACK_MS = 30000; // PM2's timer kills the old worker when it runs out, so it must outlast our own deadline by far

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** Stop a run: `why` is for a person, `lines` are the app's last words. */
class Refused extends Error {
  constructor(why, lines = []) {
    super(why);
    this.lines = lines;
  }
}

// ---------------------------------------------------------------- files of the host

/** Point `current` at a release by rename: at every instant it is the old one or the new one. */
function flip(root, release) {
  const link = path.join(root, 'current');
  const aside = path.join(root, '.gapless', 'current.next');
  truth.attempt(() => fs.unlinkSync(aside));
  fs.symlinkSync(path.join('releases', release), aside);
  fs.renameSync(aside, link);
}

const settingsFile = (root) => path.join(truth.runDir(root), 'reload.json');

/** Tell the gates about the reload under way: how long to hold, by when to be healthy, whether the host is drained, which env file holds. */
const tellGates = (root, settings) => replaceFile(settingsFile(root), JSON.stringify(settings));

/** Tell them how long to hold. Forward, no worker starts before they know; on the way back the old code must come up anyway. */
function tellHold(host, hold) {
  try {
    tellGates(host.root, { ...host.gates, hold_ms: hold });
  } catch (err) {
    if (!host.returning) throw err;
    host.journal.write('note', { text: `the gates could not be told: ${err.message}` });
  }
}

/** Give the health route that a release has for a process, if any. */
const healthOf = (host, release, name) => truth.marker(host.root, release).processes[name].health;

const goodEnv = (root, name) => path.join(root, '.gapless', 'env', `${name}.good`);
const envFile = (root, release, wanted) => wanted.env_file && path.join(root, 'releases', release, wanted.env_file);

/** Keep a copy of the env file that a healthy release runs with: the way back must not depend on what came after. */
function rememberEnv(root, release, wanted, name) {
  const file = envFile(root, release, wanted);
  if (!file || !fs.existsSync(file)) return;
  fs.mkdirSync(path.join(root, '.gapless', 'env'), { recursive: true, mode: 0o700 });
  replaceFile(goodEnv(root, name), fs.readFileSync(file, 'utf8'));
}

/** List the processes whose env file differs from the last good one; going back must use the good one for these. */
function pinnedEnv(root, release, processes) {
  const pins = {};
  for (const [name, wanted] of Object.entries(processes)) {
    const now = truth.attempt(() => fs.readFileSync(envFile(root, release, wanted), 'utf8'));
    const good = truth.attempt(() => fs.readFileSync(goodEnv(root, name), 'utf8'));
    if (good !== null && now !== good) pins[name] = goodEnv(root, name);
  }
  return pins;
}

const pidOf = (crash) => Number(/\d+/.exec(crash)[0]);
const crashFiles = (root) => truth.attempt(() => fs.readdirSync(truth.runDir(root)), []).filter((name) => /^crash-\d+\.log$/.test(name));

/** Forget crash files and records of processes that are gone, so that a new one can be told from an old one. */
function sweep(root) {
  for (const name of truth.attempt(() => fs.readdirSync(truth.runDir(root)), [])) {
    const match = /^(?:crash|worker|health)-(\d+)\.\w+$/.exec(name);
    if (match && !truth.alive(Number(match[1]))) truth.attempt(() => fs.unlinkSync(path.join(truth.runDir(root), name)));
  }
}

function readCrash(root, name) {
  const text = truth.attempt(() => fs.readFileSync(path.join(truth.runDir(root), name), 'utf8'), '') || '';
  const [why, ...rest] = text.trimEnd().split('\n');
  return { why: why || 'it ended without a word', lines: rest.slice(0, 30) };
}

// ---------------------------------------------------------------- one worker

/** Hear of each change that gates make to their files. Where inotify is used up nothing is told, and waiting has an end all the same. */
class Changes {
  constructor(dir) {
    this.count = 0;
    this.told = new EventEmitter();
    const tell = () => {
      this.count += 1;
      this.told.emit('change');
    };
    truth.attempt(() => fs.watch(dir, tell).on('error', () => {}));
  }

  /** Wait for a change after the one that `count` was, `ms` at most. Whoever takes the count before a look misses none. */
  async after(count, ms) {
    if (this.count !== count) return;
    await new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.told.off('change', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.told.on('change', done);
    });
  }
}

/** Note which workers and crash files exist, so that what comes after can be told from what was before. */
const before = (host) => ({
  pids: new Set(truth.workers(host.root).map((item) => item.pid)),
  crashes: new Set(crashFiles(host.root)),
});

const NOBODY = { state: '', pid: null };

/**
 * Wait until process `id` has an open worker of `release` that was not there before; return its record.
 * Throws Refused when it crashed (more often than `forgive` times), was killed, or was not open within `limit` ms.
 * Ends workers of the `unwanted` release meanwhile: a respawn may have followed the link just before it was flipped.
 * Throws what any of `others` failed with: waiting has no sense then.
 */
async function opened(host, { id, release, seen, limit, forgive = 0, unwanted = null, others = [] }) {
  const until = Date.now() + limit;
  let last = NOBODY;
  let asked = Date.now();
  for (;;) {
    const { count } = host.changes;
    const record = truth.workers(host.root).find((item) => item.pm_id === id && item.release === release && !seen.pids.has(item.pid));
    const wrong = unwanted && truth.workers(host.root).find((item) => item.pm_id === id && item.release === unwanted && waiting(item));
    if (wrong) await end(wrong.pid);
    const crash = crashFiles(host.root).find((name) => !seen.crashes.has(name) && isOf(host.root, name, id));
    if (crash) {
      seen.crashes.add(crash);
      const { why, lines } = readCrash(host.root, crash);
      if (forgive === 0) throw new Refused(why, lines);
      forgive -= 1;
      seen.pids.add(pidOf(crash));
    } else if (last.pid && !truth.alive(last.pid)) {
      if (forgive === 0) throw new Refused(`worker ${id} (pid ${last.pid}) was killed from outside while ${last.state}; out of memory?`);
      seen.pids.add(last.pid);
    }
    if (seen.pids.has(last.pid)) last = NOBODY; // its end was told, once
    // After what became of the one before: PM2 may have put another in its place by now.
    const there = record && !seen.pids.has(record.pid);
    if (there && (record.state !== last.state || record.pid !== last.pid)) {
      last = record;
      host.journal.write('worker', { id, pid: record.pid, release, state: record.state });
    }
    if (there && record.state === 'open') return record;
    const other = others.find(({ failed }) => failed);
    if (other) throw other.failed;
    if (Date.now() > until) throw new Refused(late(id, limit, record));
    if (Date.now() - asked >= LIST_MS) {
      await wakeIfGivenUp(host, id, forgive);
      asked = Date.now();
    }
    await host.changes.after(count, Math.min(asked + LIST_MS - Date.now(), LIST_MS)); // the clock may be set back
  }
}

const DEAD = "PM2's daemon has died";
const DOING = {
  boot: 'it is still loading its script, and too busy to notice that its time is up (an endless loop?)',
  held: 'it listens, but is not healthy',
  settling: 'it is healthy, but not for long enough',
};
const late = (id, limit, record) =>
  `worker ${id} was not ready within ${seconds(limit)}: ` +
  (record ? `${DOING[record.state] || `it is ${record.state}`}${record.why ? `: ${record.why}` : ''}` : 'it never came up');

/** Restart a worker that PM2 gave up after too many crashes, as long as crashes are forgiven. */
async function wakeIfGivenUp(host, id, forgive) {
  if (!truth.daemon().pid) throw new Refused(DEAD);
  const item = (await truth.list(host.pm2, host.root)).find((each) => each.id === id);
  if (!item || item.status !== 'errored') return;
  if (forgive === 0) throw new Refused(`PM2 gave worker ${id} up after too many crashes`);
  truth.rpc(host.pm2, 'restartProcessId', { id, env: {} }, Infinity).catch((err) => host.journal.write('note', { text: err.message }));
}

/** Say whether a crash file is of process `id`; one without a record (the disk was full) is of whoever boots just then. */
function isOf(root, name, id) {
  const record = truth.worker(root, pidOf(name));
  return !record || record.pm_id === id;
}

/** Give the deadline of a worker on the way back: longer, but no longer than a run may stand still. */
const backLimit = ({ healthy_deadline_ms: own, progress_ms: still }) => Math.max(own, Math.min(BACK * own, still - 2 * SLACK_MS));

const deadline = (host) => host.gates.deadline_ms ?? host.plan.healthy_deadline_ms;

/** Give a worker its own deadline, and the time to say that it could not keep it. */
const openLimit = (host) => deadline(host) + LATE_MS;

/** Replace workers at once, and return when the new ones are open; the old ones finish their requests meanwhile. */
async function replace(host, items, release, { hold = 0, forgive = 0, done = () => {} } = {}) {
  const ids = items.map(({ id }) => id);
  await Promise.all(ids.map((id) => retirement(host, id))); // PM2 refuses a reload while the old worker of the last one is still parked
  await calm(host, ids);
  sweep(host.root); // before any of them starts: it would take away what a new one leaves when it crashes
  tellHold(host, hold);
  const hand = { failed: null };
  const swapped = (item) =>
    swap(host, item, release, { hold, forgive, hand }).then(() => done(item), (err) => {
      hand.failed ??= err;
    });
  await Promise.all(items.map(swapped));
  if (hand.failed) throw hand.failed;
}

/**
 * Have PM2 put a new worker in the place of one, and wait until it is open. Ask again for as long as PM2 still sees off the one before:
 * only its own answer tells, and a driver that was killed could not wait for that.
 */
async function swap(host, item, release, options) {
  const until = Date.now() + gone(host);
  for (;;) {
    try {
      return await order(host, item, release, options);
    } catch (err) {
      if (!isTooEarly(err)) throw err;
      if (Date.now() > until) throw new Refused(`PM2 refused to reload worker ${item.id}: ${err.message}`);
    }
    await sleep(LIST_MS);
    if (options.hand.failed) throw options.hand.failed;
  }
}

const isTooEarly = ({ message }) => /^Reload already in progress/.test(message); // lib/God/Reload.js of PM2 7

function order(host, { id, mode }, release, { hold, forgive, hand }) {
  const seen = before(host);
  const limit = openLimit(host) + hold;
  const method = mode === 'cluster' ? 'reloadProcessId' : 'restartProcessId';
  // PM2 ends the old worker when listen_timeout runs out, healed or not: leave room for this one and for its way back.
  const both = (2 + BACK) * (host.plan.healthy_deadline_ms + LATE_MS + hold);
  const timing = { listen_timeout: both + SLACK_MS, kill_timeout: host.plan.kill_timeout_ms, wait_ready: true };
  const retired = truth.rpc(host.pm2, method, { id, env: { current_conf: timing } }, Infinity);
  host.retired.set(id, retired.catch((err) => isTooEarly(err) || host.journal.write('note', { text: `PM2 on ${method} ${id}: ${err.message}` })));
  const attempt = { failed: null };
  const refused = retired.then(() => new Promise(() => {}), (err) => {
    attempt.failed = isTooEarly(err) ? err : new Refused(`PM2 refused to reload worker ${id}: ${err.message}`);
    throw attempt.failed;
  });
  return Promise.race([opened(host, { id, release, seen, limit, forgive, others: [hand, attempt] }), refused]);
}

/**
 * Wait until PM2 is not about to start or stop any of these workers; return them. A reload that meets PM2's own respawn starts a
 * second worker under the same id, and one of the two is in no list from then on.
 */
async function calm(host, ids) {
  const until = Date.now() + deadline(host);
  for (;;) {
    const listed = await truth.list(host.pm2, host.root);
    const found = ids.map((id) => listed.find((each) => each.id === id));
    const lost = ids.find((_, at) => !found[at]);
    if (lost !== undefined) throw new Refused(`PM2 no longer lists worker ${lost}`);
    if (!found.some(isMoving) || Date.now() > until) return found;
    await sleep(TICK_MS * 2);
  }
}

const isMoving = ({ status, pid }) => ['launching', 'stopping'].includes(status) || (status === 'online' && !truth.alive(pid));

/** Wait until the old worker of an id has left; PM2 lets it live for two kill_timeouts, and a dead daemon never says so. */
const retirement = (host, id) => truth.within(gone(host), `the end of worker ${id}'s predecessor`, Promise.resolve(host.retired.get(id)));
const gone = (host) => 2 * host.plan.kill_timeout_ms + SLACK_MS;

const allRetired = (host) => Promise.all([...host.retired.keys()].map((id) => retirement(host, id)));

// ---------------------------------------------------------------- one process of the app

const instances = (wanted) => (wanted.instances === 'max' ? os.availableParallelism() : wanted.instances);

/** Describe a process to PM2. Cwd is the link itself: PM2 follows it at each spawn only if it was given the link. */
const conf = (host, name, wanted) => ({
  name,
  script: path.join(host.root, '.gapless', 'gate.cjs'),
  cwd: path.join(host.root, 'current'),
  exec_mode: wanted.exec_mode,
  instances: instances(wanted),
  wait_ready: true,
  listen_timeout: deadline(host) + SLACK_MS,
  kill_timeout: host.plan.kill_timeout_ms,
  autorestart: true,
  vizion: false, // PM2 would look for a git checkout at each start
});

/** Start a process where none runs; PM2 starts its workers one after another. */
async function start(host, name, wanted, release) {
  const holder = wanted.port && truth.portHolder(wanted.port);
  // In cluster mode the daemon itself listens for the workers.
  if (holder && holder.pid !== truth.daemon().pid) {
    throw new Refused(`port ${wanted.port} is held by pid ${holder.pid} (${holder.command}), which is not ours and was left alone`);
  }
  sweep(host.root);
  tellHold(host, 0);
  const seen = before(host);
  const limit = openLimit(host);
  host.journal.write('start', { name, instances: instances(wanted) });
  host.pm2.start(conf(host, name, wanted), (err) => err && host.journal.write('note', { text: `PM2 on start of ${name}: ${truth.asError(err).message}` }));
  for await (const id of appearing(host, name, instances(wanted))) await opened(host, { id, release, seen, limit });
}

/** Yield the ids of a process as PM2 begins to list them, until there are `count`. */
async function* appearing(host, name, count, known = new Set()) {
  const patience = deadline(host) + SLACK_MS;
  let until = Date.now() + patience;
  while (known.size < count) {
    const { count: heard } = host.changes;
    for (const { id } of (await truth.list(host.pm2, host.root)).filter((item) => item.name === name && !known.has(item.id))) {
      known.add(id);
      yield id;
      until = Date.now() + patience; // each may take its time: PM2 starts the next when this one is ready
    }
    if (Date.now() > until) throw new Refused(`PM2 listed ${known.size} of ${count} workers of ${name}`);
    if (known.size < count) await host.changes.after(heard, LIST_MS);
  }
}

/** Replace the workers of a process: the first alone, as the canary, which is held longest; then one by one, or two where nobody is served. */
async function reload(host, name, [canary, ...others]) {
  const began = Date.now();
  await turn(host, [canary], host.plan.drained ? 0 : host.plan.min_healthy_ms);
  const size = atOnce(host, name, Date.now() - began);
  for (let at = 0; at < others.length; at += size) await turn(host, others.slice(at, at + size));
}

/**
 * Say how many workers of a process may boot together, when the first took so many ms: two where the balancer sends it nothing, and both
 * have plenty of time. What has no health route may work on, whatever the balancer does.
 */
function atOnce(host, name, took) {
  return host.plan.drained && healthOf(host, host.to, name) && 3 * took < deadline(host) ? AT_ONCE : 1;
}

/** Replace these workers at once, and note for the way back which are in hand, and which are done. */
async function turn(host, items, hold = 0) {
  checkFence(host.root, host.plan.lock);
  host.touched = [...items];
  const done = (item) => {
    host.replaced.push(item);
    host.touched = host.touched.filter((each) => each !== item);
  };
  await replace(host, items, host.to, { hold, done });
}

/** Add workers up to the wanted number: PM2 ignores a changed `instances` on reload. */
async function grow(host, name, wanted, existing) {
  const want = instances(wanted);
  if (want <= existing.length) return;
  const seen = before(host);
  const known = new Set(existing.map((item) => item.id));
  host.journal.write('scale', { name, from: existing.length, to: want });
  host.grown.push(name);
  host.pm2.scale(name, want, () => {});
  const limit = openLimit(host);
  for await (const id of appearing(host, name, want, known)) await opened(host, { id, release: host.to, seen, limit });
}

/** Change how many workers a process has; those that stay are not touched. */
async function scale(host, name, wanted) {
  const existing = host.found.filter((item) => item.name === name);
  const surplus = existing.slice(instances(wanted));
  if (surplus.length) host.journal.write('scale', { name, from: existing.length, to: instances(wanted) });
  host.surplus.push(...surplus);
  return grow(host, name, wanted, existing);
}

/** Carry one process of the app to the new release, whatever it is doing now. */
async function carry(host, name, wanted) {
  const existing = host.found.filter((item) => item.name === name);
  const foreign = existing.filter((item) => !item.gated || item.mode !== wanted.exec_mode);
  if (foreign.length) await remove(host, name, existing);
  if (foreign.length || !existing.length) {
    host.created.push(name);
    return start(host, name, wanted, host.to);
  }
  refuseRestart(host, name, existing[0]);
  const staying = existing.slice(0, instances(wanted));
  host.surplus.push(...existing.slice(staying.length));
  await reload(host, name, staying);
  return grow(host, name, wanted, existing);
}

/** Refuse what would be a restart under traffic: in fork mode the old worker ends before the new one starts. */
function refuseRestart(host, name, { mode }) {
  if (mode === 'fork' && healthOf(host, host.to, name) && !host.plan.drained && !host.plan.allow_downtime) {
    throw new Refused(`${name} is in fork mode and this host could not be drained: replacing it means downtime, so it needs --allow-downtime`);
  }
}

/** Refuse to add to what a reload would have to put right first: the new workers must be like those that stay. */
function refuseUneven(host) {
  for (const [name, wanted] of Object.entries(host.plan.processes)) {
    const existing = host.found.filter((item) => item.name === name);
    const odd = existing.find((item) => !item.gated || item.mode !== wanted.exec_mode || item.release !== host.to);
    if (!existing.length) throw new Refused(`${name} does not run here, so there is nothing to scale; a reload starts it`);
    if (odd) throw new Refused(`worker ${odd.id} of ${name} is not one of ${host.to} behind the gate; a reload puts that right`);
  }
}

/** Remove workers that no reload can carry over: another mode, or not started through the gate. */
async function remove(host, name, existing) {
  const [{ mode, script }] = existing;
  if (!host.plan.drained && !host.plan.allow_downtime) {
    throw new Refused(`${name} runs in ${mode} mode from ${script}; replacing it means downtime, so it needs --allow-downtime`);
  }
  host.journal.write('remove', { name, script, mode });
  host.removed.push({ name, mode, count: existing.length, gated: existing.every((item) => item.gated) });
  for (const { id } of existing) await truth.rpc(host.pm2, 'deleteProcessId', id, gone(host));
}

/**
 * Have a daemon that was just born start what the last one had saved, as after a reboot, one after another; wait until ours are open.
 * What PM2 itself does for that ends the calling process on some errors, and deletes a list that it can't read.
 */
async function revive(host, release) {
  host.journal.write('revive', { release });
  sweep(host.root);
  tellHold(host, 0);
  const seen = before(host);
  const limit = openLimit(host);
  for (const env of truth.saved()) {
    await truth.rpc(host.pm2, 'prepare', env, limit + SLACK_MS)
      .catch((err) => host.journal.write('note', { text: `PM2 on start of ${env.name}: ${err.message}` }));
  }
  for (const { id } of await ours(host)) await opened(host, { id, release, seen, limit, forgive: 1 });
}

/** Go back to the old release under a new daemon, in place of the one that died in the middle of this run. */
async function outlive(host) {
  host.retired.clear(); // nobody will tell the end of these any more
  truth.attempt(() => host.pm2.disconnect());
  host.pm2 = await truth.wake(host.plan.pm2);
  await revive(host, host.from);
}

/** Where downtime is allowed, start anew what does not come back as it was. */
async function giveUp(host, err) {
  if (!host.plan.allow_downtime) throw new Refused(`${DEAD}, and what it had saved does not come back: ${err.message}`, err.lines);
  for (const { id } of await ours(host)) await truth.rpc(host.pm2, 'deleteProcessId', id, gone(host));
}

// ---------------------------------------------------------------- the whole host

/** Watch the workers for `ms`: as many as expected, same pids, same restart counts, healthy each on its own socket. */
async function settle(host, release, ms, expected) {
  const first = (await ours(host)).filter((item) => !host.surplus.some((each) => each.id === item.id));
  for (const [name, count] of Object.entries(expected)) {
    const found = first.filter((item) => item.name === name).length;
    if (found !== count) throw new Refused(`PM2 lists ${found} workers of ${name}, ${count} are wanted`);
  }
  host.journal.write('settle', { ms, workers: first.map(({ id, pid }) => ({ id, pid })) });
  const end = Date.now() + ms;
  do {
    for (const was of first) {
      if (!truth.alive(was.pid)) throw died(host, was);
      await stillHealthy(host, was, release);
    }
    await sleep(Math.min(LIST_MS, Math.max(0, end - Date.now())));
  } while (Date.now() < end);
  const last = await ours(host);
  for (const was of first) {
    const now = last.find((item) => item.id === was.id);
    if (!now || was.pid !== now.pid || was.restarts !== now.restarts) throw new Refused(`worker ${was.id} was restarted while it had to stay up`, lastErrors(host, was));
    if (now.release !== release) throw new Refused(`worker ${now.id} runs ${now.release}, not ${release}`);
  }
}

function died(host, was) {
  if (!truth.daemon().pid) return new Refused(DEAD); // and its workers with it
  return new Refused(`worker ${was.id} (pid ${was.pid}) died after it had become healthy`, lastErrors(host, was));
}

async function stillHealthy(host, was, release) {
  const { id, pid, name } = was;
  const health = healthOf(host, release, name);
  if (!health) return;
  const ask = () => truth.health(host.root, pid, health.path, health.timeout_ms);
  let answer = await ask();
  if (answer.status === 0) await sleep(TICK_MS); // who dies closes its socket first
  if (!truth.alive(pid)) throw died(host, was);
  // No answer may be our own fault: where this machine stood still, it was our clock that ran out.
  if (answer.status === 0) answer = await ask();
  if (answer.status !== 200) throw new Refused(`worker ${id} turned unhealthy: GET ${health.path} gave ${answer.status || answer.why}, want 200`);
}

/** Read the last lines of a worker's error log that were written since this run began: older ones are somebody else's. */
function lastErrors(host, { errors }) {
  const text = truth.attempt(() => fs.readFileSync(errors), Buffer.alloc(0));
  const before = host.logged[errors] || 0;
  return text.subarray(text.length < before ? 0 : before).toString().trimEnd().split('\n').slice(-15); // shorter: it was rotated
}

const ours = async (host) => (await truth.list(host.pm2, host.root)).filter((item) => item.name in host.plan.processes);

/**
 * Go back: link and env first, so that whatever respawns is old code; then the worker in hand, those already replaced, and
 * what was added or started. Does all it can and throws at the end when any of it failed.
 */
async function goBack(host) {
  host.journal.write('revert', { from: host.to, to: host.from });
  host.returning = true;
  host.gates.deadline_ms = backLimit(host.plan);
  const failures = [];
  const step = (what) => what().catch((err) => failures.push(err));
  host.surplus = [];
  if (host.from) {
    // A respawn may have followed the link just before it is flipped; withdrawn, it leaves instead of opening.
    const withdrawn = host.to === host.from ? undefined : host.to;
    host.gates = { ...host.gates, withdrawn, env_files: pinnedEnv(host.root, host.from, host.plan.processes) };
    truth.attempt(() => tellGates(host.root, host.gates));
  }
  const seen = before(host);
  if (host.from) flip(host.root, host.from);
  const revived = host.from && !truth.daemon().pid && !host.created.length && !host.removed.length;
  if (revived) await step(() => outlive(host));
  else await undo(host, seen, step);
  if (!host.from) truth.attempt(() => fs.unlinkSync(path.join(host.root, 'current')));
  if (host.to !== host.from && !revived) markBad(host.root, host.to); // else it is not to blame
  if (host.from) await step(() => settle(host, host.from, 1000, counts(host.found)));
  if (failures.length) throw failures[0];
}

/** Take back worker by worker what this run had PM2 do. */
async function undo(host, seen, step) {
  for (const { id } of host.touched) await step(() => cull(host, id, seen));
  for (const item of host.touched) await step(() => heal(host, item, seen));
  for (const item of host.replaced) await step(() => takeBack(host, item, seen));
  if (host.created.length || host.grown.length) await step(() => removeMade(host));
  await step(() => allRetired(host));
  for (const item of host.removed) await step(() => bringBack(host, item));
}

/** Start what was removed, from the old release; what never ran through the gate was not ours to describe to PM2. */
async function bringBack(host, { name, mode, count, gated }) {
  if (!gated || !host.from) throw new Refused(`${name} was removed and can't be started as it was: it did not run through the gate`);
  await start(host, name, { ...host.plan.processes[name], exec_mode: mode, instances: count }, host.from);
}

function markBad(root, release) {
  const file = (name) => path.join(root, 'releases', release, name);
  truth.attempt(() => fs.writeFileSync(file('.gapless-bad'), ''));
  truth.attempt(() => fs.unlinkSync(file('.gapless-stable')));
}

/** Count workers by process name. */
const counts = (items) => items.reduce((sum, { name }) => ({ ...sum, [name]: (sum[name] || 0) + 1 }), {});

/** End what waits to open as worker `id`, so that PM2 respawns it from the old release; what is that respawn already may go on. */
async function cull(host, id, seen) {
  for (const { pid, state } of truth.workers(host.root).filter((each) => each.pm_id === id && waiting(each) && !respawned(host, each, seen))) {
    host.journal.write('cull', { id, pid, state });
    await end(pid);
  }
}

/** Wait until a worker in hand is open from the old release. */
async function heal(host, was, seen) {
  const { id, pid: old } = was;
  const item = (await truth.list(host.pm2, host.root)).find((each) => each.id === id);
  // PM2 never took the reload up: the old worker is still the one.
  if (item && item.pid === old && item.status !== 'stopping' && truth.alive(old)) return undefined;
  // Given up because another failed, it may have opened before anybody could end it.
  if (item && (truth.worker(host.root, item.pid) || NOBODY).state === 'open') return takeBack(host, was, seen);
  const limit = openLimit(host) + host.plan.healthy_deadline_ms; // a first one may have hung until its gate gave up
  const unwanted = host.to === host.from ? null : host.to;
  return opened(host, { id, release: host.from, seen, limit, forgive: 3, unwanted });
}

const waiting = ({ state }) => state !== 'open' && state !== 'stopping';

/** Say whether a worker's record is of one that came from the old release since the way back began. */
const respawned = (host, { release, pid }, seen) => release === host.from && !seen.pids.has(pid);

/** Return a worker that was replaced already; one that died meanwhile is on its way back by PM2's own respawn. */
async function takeBack(host, item, seen) {
  const [{ pid, status }] = await calm(host, [item.id]);
  const record = truth.worker(host.root, pid);
  if (!record || !respawned(host, record, seen)) await replace(host, [item], host.from, { forgive: 1 });
  else if (status === 'errored' || record.state !== 'open') {
    await opened(host, { id: item.id, release: host.from, seen, limit: openLimit(host), forgive: 3 });
  }
}

/** End a process that serves nobody: ask, then insist. */
async function end(pid) {
  truth.attempt(() => process.kill(pid, 'SIGTERM'));
  for (let waited = 0; truth.alive(pid) && waited < 2000; waited += TICK_MS) await sleep(TICK_MS);
  truth.attempt(() => process.kill(pid, 'SIGKILL'));
}

/** Say whether a worker is one that this run had PM2 start besides those that it found. */
const made = (host, { name, id }) =>
  host.created.includes(name) || (host.grown.includes(name) && !host.found.some((item) => item.name === name && item.id === id));

/**
 * Delete what this run had PM2 start. PM2 starts workers one after another and goes on when the first of them fails, and it
 * loses one that it respawns in the very instant: so look until nothing of it was there for a while.
 */
async function removeMade(host) {
  const until = Date.now() + gone(host);
  for (let quiet = 0; quiet < QUIET_LOOKS; quiet += 1) {
    const found = (await truth.list(host.pm2, host.root)).filter((item) => made(host, item));
    if (found.length && Date.now() > until) throw new Refused(`PM2 still lists ${found.length} workers of ${found[0].name} that have to go`);
    for (const { id } of found) await truth.rpc(host.pm2, 'deleteProcessId', id, gone(host)).catch(() => {});
    // A worker parked for its successor is unlisted too, and may be the only one that serves.
    if (await endStrays(host, (stray) => made(host, stray)) || found.length) quiet = -1;
    await sleep(LIST_MS);
  }
}

/**
 * End workers of ours that PM2 no longer lists: they would serve old code on the shared port, unseen. Say how many.
 * Looks first and asks PM2 then: the other way round, a worker that it spawns in between would pass for a stray.
 */
async function endStrays(host, unwanted = () => true) {
  const children = truth.strays(host.root, truth.daemon().pid, []);
  const listed = await truth.list(host.pm2, host.root);
  const strays = children.filter((child) => unwanted(child) && !listed.some(({ pid }) => pid === child.pid));
  for (const { pid, release } of strays) {
    host.journal.write('stray', { pid, release });
    await end(pid);
  }
  return strays.length;
}

/** Note how often PM2 has restarted each worker by now: what comes on top is a death, not a deploy. */
async function rememberRestarts(host) {
  const restarts = Object.fromEntries((await ours(host)).map(({ id, restarts: count }) => [id, count]));
  replaceFile(path.join(truth.runDir(host.root), 'settled.json'), JSON.stringify({ restarts }));
}

/** Make the new number of workers last. What env file is good only a reload of them all can tell. */
async function noteWorkers(host) {
  await rememberRestarts(host).catch((err) => host.journal.write('note', { text: `restarts were not noted: ${err.message}` }));
  await saveList(host);
}

/** Make the new state last: the good env, the mark of a stable release, the list for the next boot. A full disk undoes nothing. */
async function keep(host) {
  try {
    for (const [name, wanted] of Object.entries(host.plan.processes)) rememberEnv(host.root, host.to, wanted, name);
    fs.writeFileSync(path.join(host.root, 'releases', host.to, '.gapless-stable'), '');
    await rememberRestarts(host);
  } catch (err) {
    host.journal.write('note', { text: `not marked as a release to go back to: ${err.message}` });
  }
  await saveList(host);
}

/** Save PM2's list for the next boot. Failing to is told; it undoes nothing. */
const saveList = (host) => saved.saveList(host.pm2).catch((err) => host.journal.write('note', { text: `pm2 save: ${err.message}` }));

/** Leave only what a respawn needs: the pinned env where going back had to pin one. */
function untellGates(host) {
  const { env_files: pins = {} } = host.gates;
  if (Object.keys(pins).length) tellGates(host.root, { run: host.plan.run, env_files: pins });
  else truth.attempt(() => fs.unlinkSync(settingsFile(host.root)));
}

/** Refuse to act for a run that no longer owns this host. */
function checkFence(root, run) {
  const owner = truth.readJson(path.join(root, '.gapless', 'lock', 'owner.json'));
  if (!owner || owner.run !== run) throw new Refused(`the lock of this host is ${owner ? `held by ${owner.run}` : 'gone'}; this run (${run}) may not touch it`);
}

async function forward(host) {
  if (!host.plan.scale) flip(host.root, host.to);
  const change = host.plan.scale ? scale : carry;
  for (const [name, wanted] of Object.entries(host.plan.processes)) await change(host, name, wanted);
  const wanted = Object.entries(host.plan.processes).map(([name, each]) => [name, instances(each)]);
  await settle(host, host.to, host.plan.min_healthy_ms, Object.fromEntries(wanted));
  await allRetired(host);
  for (const { id } of host.surplus) await truth.rpc(host.pm2, 'deleteProcessId', id, gone(host));
  await endStrays(host);
  await (host.plan.scale ? noteWorkers(host) : keep(host));
  if (host.plan.bad && host.plan.bad !== host.to) markBad(host.root, host.plan.bad);
}

/** Look before anything is touched; throws Refused when this host can't be carried over. */
async function prepare(host) {
  checkFence(host.root, host.plan.lock);
  const now = truth.current(host.root);
  if (now.state !== 'ok' && now.state !== 'absent') throw new Refused(`current is ${now.state}; it must be a link to a complete release`);
  if (!truth.marker(host.root, host.to)) throw new Refused(`release ${host.to} is not complete on this host`);
  host.from = now.release;
  const dead = !truth.daemon().pid;
  host.pm2 = await truth.wake(host.plan.pm2);
  if (dead && host.from) await revive(host, host.from).catch((err) => giveUp(host, err));
  host.found = (await ours(host)).sort((a, b) => a.id - b.id);
  if (host.plan.scale) host.gates.env_files = (truth.readJson(settingsFile(host.root)) || {}).env_files; // what those that stay run with
  if (host.plan.scale) refuseUneven(host);
  for (const { errors } of host.found) host.logged[errors] = truth.attempt(() => fs.statSync(errors).size, 0);
  host.journal.write('begin', { from: host.from, to: host.to, drained: host.plan.drained });
}

/** Carry this host to the plan's release, or take it back; journal one final event, whatever happens. */
async function work(root, run, log, plan) {
  const host = {
    root, plan, journal: log, to: plan.release, from: null, found: [], logged: {},
    created: [], grown: [], removed: [], replaced: [], surplus: [], touched: [], // what was done, for the way back
    retired: new Map(), gates: { run, drained: plan.drained, since: Date.now() }, changes: new Changes(truth.runDir(root)),
  };
  try {
    await prepare(host);
  } catch (err) {
    log.write('reverted', { why: err.message, lines: err.lines, untouched: true, release: host.from });
    return;
  }
  try {
    await forward(host);
    untellGates(host);
    log.write('done', { release: host.to });
  } catch (err) {
    log.write('failed', { why: err.message, lines: err.lines });
    await back(host, err);
  }
}

async function back(host, cause) {
  const told = { why: cause.message, lines: cause.lines, release: host.from };
  try {
    await goBack(host);
    await endStrays(host);
    if (host.from) await noteWorkers(host);
    host.journal.write('reverted', told);
  } catch (err) {
    host.journal.write('broken', { ...told, back: err.message, lines: err.lines || told.lines });
  } finally {
    truth.attempt(() => untellGates(host));
  }
}

journal.ways(__filename, work, { event: 'reverted', untouched: true });
