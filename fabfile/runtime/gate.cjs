'use strict';

/**
 * The gate: PM2 starts this file, and this file starts the app.
 *
 *   boot ──listen()──▶ held ──health is good──▶ settling ──hold_ms──▶ open ──signal──▶ stopping
 *                       ▲───────bad answer─────────┘
 *
 * The app's servers do not join the port before its own health route, asked on a private unix socket, was good
 * for as long as the reload wants. So a bad release never gets a request, and the old worker serves meanwhile.
 * What the gate reads and writes is laid down in docs/on-the-host.md.
 */

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const Module = require('node:module');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const tls = require('node:tls');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const { pathToFileURL } = require('node:url');
const util = require('node:util');

const POLL_MS = [25, 250]; // between two questions: a tenth of the time that it was asked already, within these
const STABLE_MS = 500; // the least a process without a health route must live to count as ready
const GRACE_MS = 500; // the cluster primary may still be handing us a connection when we stop accepting
const KEEP_ALIVE_MS = 5000; // node's default
const FRESH_MS = 1000; // the least time to listen for clients that come past the balancer
const CURFEW_MS = 1500; // before PM2's SIGKILL: what is still connected ends, the app's own handlers get the rest
const HELD_STOP_MS = 1000; // for the app's handlers when it is stopped before it ever served
const SOCKET_PATH_MAX = 107;
const BODY_MAX = 1024 * 1024;
const OUTPUT_LINES = 40;
const UNPROVEN = new Set(['boot', 'held', 'settling']);
const STOP_SIGNALS = ['SIGINT', 'SIGTERM'];
const MACHINE_ENV = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_.+|TZ|TMPDIR)$/;
const PM2_ENV = /^(NODE_APP_INSTANCE|pm_id|PM2_HOME|NODE_CHANNEL_FD|NODE_UNIQUE_ID)$/;

// Taken before the app can wrap or replace them.
const { listen: netListen, close: netClose } = net.Server.prototype;
const httpGet = http.get;
const processEmit = process.emit;
const processSend = process.send?.bind(process);
const exit = process.exit.bind(process);
const now = () => performance.now();

const RUN = path.join(__dirname, 'run');
const files = {
  worker: path.join(RUN, `worker-${process.pid}.json`),
  crash: path.join(RUN, `crash-${process.pid}.log`),
  socket: path.join(RUN, `health-${process.pid}.sock`),
  reload: path.join(RUN, 'reload.json'),
};

// PM2 put its own settings among the variables; they are gone once the environment is exact.
const pm2 = { name: process.env.name, id: Number(process.env.pm_id), killTimeout: Number(process.env.kill_timeout) };

const worker = {
  pid: process.pid, pm_id: pm2.id, name: pm2.name, release: '', state: 'boot',
  since: Date.now(), ports: [], health: null, why: '',
};
const held = new Map(); // server → the arguments of the listen() it waits with
const servers = new Set(); // every http server that wants to listen or does
const sockets = new Set(); // their connections
const sessions = new Set(); // their HTTP/2 sessions
const askedAt = new WeakMap(); // connection → when a request last came on it
let marker; // .gapless.json
let settings; // the part of it that is ours
let deadline; // when we give up waiting for a healthy app
let privateServer = null; // answers on the health socket
let asked = null; // the server that answers on the private socket
let opening = false; // from here on requests may arrive
let opened = null; // a promise: all servers listen
let crashed = false;
let refusal = ''; // the body of the last answer that was not good
let outputTail = '';
let draining = null; // a promise, once a stop signal came
let released = false; // the stop signals belong to the app again

// ---------------------------------------------------------------------------------------------------- files

/** Replace a file in one step. A full disk must not cost a request, so failing to tell is no failure. */
function put(file, text) {
  try {
    fs.writeFileSync(`${file}.tmp`, text, { mode: 0o600 });
    fs.renameSync(`${file}.tmp`, file);
  } catch {
    fs.rmSync(`${file}.tmp`, { force: true });
  }
}

/** Go to a state and let the outside know. */
function enter(state, change) {
  if (state !== worker.state) worker.since = Date.now();
  Object.assign(worker, { state }, change);
  put(files.worker, JSON.stringify(worker));
}

/** Read what the reload under way asks for; none is under way after a crash or a reboot. */
function reloadSettings() {
  try {
    return JSON.parse(fs.readFileSync(files.reload, 'utf8'));
  } catch {
    return {};
  }
}

/** Tell whether this release was taken back while this worker booted: the link points elsewhere already. */
const withdrawn = () => reloadSettings().withdrawn === marker.release;

// ------------------------------------------------------------------------------------------ the way it died

/** Tell whether the worker has not served yet, so that its death is the gate's to explain. */
const unproven = () => UNPROVEN.has(worker.state);

/** Write down why, while there still is a process: PM2's own log stays empty when a cluster worker dies. */
function explain(reason, message, detail) {
  crashed = true;
  const headline = `${reason}: ${message.split('\n', 1)[0]}`;
  enter(worker.state, { why: headline }); // first: it tells whose crash log this is
  put(files.crash, [headline, detail, '--- last output ---', lastLines(outputTail), ''].join('\n'));
}

/** End a worker that has not served yet; one that was told to stop owes no explanation. */
function crash(reason, message, detail = '') {
  if (unproven() && !crashed) explain(reason, message, detail);
  exit(1);
}

function crashOn(reason, thrown) {
  crash(reason, thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : util.inspect(thrown), util.inspect(thrown));
}

const onException = (error) => crashOn('exception', error);
// PM2 listens for rejections too, and thereby cancels node's default: a dead bootstrap would stay "online" for ever.
const onRejection = (reason) => crashOn('rejection', reason);

/** Account for an app that leaves by itself; the stack says who called process.exit(). */
function onExit(code) {
  if (unproven() && !crashed && !withdrawn()) {
    const caller = new Error('').stack.split('\n').filter((line) => !line.includes(__filename)).slice(1).join('\n');
    const called = caller.includes('process.exit');
    explain('exit', called ? `the app called process.exit(${code})` : `nothing kept the app alive (code ${code})`, caller);
  }
  forget();
}

/** Take this worker's files away. After a crash its state stays too: it tells whose crash log that is. */
function forget() {
  privateServer?.close();
  privateServer?.closeAllConnections();
  fs.rmSync(files.socket, { force: true });
  if (!crashed) fs.rmSync(files.worker, { force: true });
}

/** Keep what the app prints until it is open: the last lines before a crash are the ones that help. */
function recordOutput() {
  for (const stream of [process.stdout, process.stderr]) {
    const { write } = stream;
    stream.write = function (chunk, ...rest) {
      if (unproven()) outputTail = lastLines(outputTail + (typeof chunk === 'string' ? chunk : Buffer.from(chunk)));
      return write.call(this, chunk, ...rest);
    };
  }
}

function lastLines(text) {
  return text.slice(-BODY_MAX).split('\n').slice(-OUTPUT_LINES - 1).join('\n');
}

// ---------------------------------------------------------------------------------------------- the release

/** Read the marker of the release we were started in; everything that may change with a release is in there. */
function readMarker(release) {
  const found = JSON.parse(fs.readFileSync(path.join(release, '.gapless.json'), 'utf8'));
  if (found.schema !== 1) throw new Error(`schema ${found.schema} in .gapless.json; this gate knows schema 1`);
  if (!found.processes[pm2.name]) throw new Error(`.gapless.json has no process "${pm2.name}"`);
  return found;
}

/** Make the environment exact: nothing of the shell that once started PM2's daemon, nothing of an older release. */
function exactEnv(release) {
  const { port, env, env_file: envFile } = settings;
  const kept = Object.entries(process.env).filter(([key]) => MACHINE_ENV.test(key) || PM2_ENV.test(key));
  const pinned = reloadSettings().env_files?.[pm2.name]; // the way back must not depend on a file that was broken since
  const file = pinned ?? (envFile ? path.resolve(release, envFile) : '');
  const wanted = {
    ...Object.fromEntries(kept),
    ...(port ? { PORT: port } : {}),
    ...env,
    ...(fs.existsSync(file) ? util.parseEnv(fs.readFileSync(file, 'utf8')) : {}),
    GAPLESS_RELEASE: marker.release,
    GAPLESS_COMMIT: marker.commit,
  };
  for (const key of Object.keys(process.env)) if (!Object.hasOwn(wanted, key)) delete process.env[key];
  Object.assign(process.env, wanted);
}

/** Tell whether node would take a file for an ES module by its name or its package. */
function isModule(script) {
  const extension = path.extname(script);
  if (extension !== '.js' && extension !== '.ts') return extension === '.mjs' || extension === '.mts';
  for (let dir = path.dirname(script); ; dir = path.dirname(dir)) {
    const manifest = path.join(dir, 'package.json');
    if (fs.existsSync(manifest)) return JSON.parse(fs.readFileSync(manifest, 'utf8')).type === 'module';
    if (dir === path.dirname(dir)) return false;
  }
}

/** Run the app as node would: for CommonJS it is `require.main`, and in both worlds argv[1]. */
async function load(script) {
  process.argv[1] = script;
  if (isModule(script)) await import(pathToFileURL(script));
  else Module._load(script, null, true);
}

// -------------------------------------------------------------------------------------------- hold listen()

/** Tell an http server of any kind (HTTP/2 and home-made ones too) from a plain socket server. */
function speaksHttp(server) {
  return server instanceof http.Server || server instanceof https.Server || server.listenerCount('request') > 0;
}

/** Know the connections of a server: the drain has to see the last one off. */
function watch(server) {
  servers.add(server);
  const follow = (set) => (connection) => {
    set.add(connection);
    connection.once('close', () => set.delete(connection));
  };
  for (const event of ['connection', 'secureConnection']) server.on(event, follow(sockets));
  server.on('session', follow(sessions));
  server.on('request', ({ socket }) => askedAt.set(socket, now()));
}

net.Server.prototype.listen = function listen(...args) {
  if (!speaksHttp(this)) return netListen.apply(this, args);
  if (!servers.has(this)) watch(this);
  if (opening) return netListen.apply(this, args);
  held.set(this, args);
  if (worker.state === 'boot') guard();
  return this;
};

// The app may close a server that waits, or (Nest's hooks do) one that the drain has closed already.
net.Server.prototype.close = function close(done) {
  held.delete(this);
  if (!draining || this.listening || !servers.has(this)) return netClose.call(this, done);
  if (done) draining.then(() => done());
  return this;
};

/** Tell the port a listen() call asks for. */
function portOf([first]) {
  const port = Number(first !== null && typeof first === 'object' ? first.port : first);
  return Number.isInteger(port) ? port : null;
}

// --------------------------------------------------------------------------------------------------- health

/** Answer on the private socket with the app's own request handlers, for as long as the worker lives. */
function openPrivateSocket() {
  const length = Buffer.byteLength(files.socket);
  if (length > SOCKET_PATH_MAX) {
    throw new Error(`${files.socket} is ${length} bytes long; unix sockets end at ${SOCKET_PATH_MAX}: use a shorter root`);
  }
  fs.rmSync(files.socket, { force: true });
  const server = http.createServer((request, response) => {
    // What the app would see of a local client; frameworks and rate limiters stumble over an address that is missing.
    Object.defineProperty(request.socket, 'remoteAddress', { value: '127.0.0.1', configurable: true });
    if (asked instanceof tls.Server) request.socket.encrypted = true;
    if (!asked?.emit('request', request, response)) response.writeHead(503).end('the app does not listen yet\n');
  });
  server.on('error', (error) => unproven() && crashOn('config', error));
  // Without `exclusive` the cluster primary would share it among all workers.
  netListen.call(server, { path: files.socket, exclusive: true });
  server.unref();
  return server;
}

/** Choose the servers whose health counts: the one on PORT if it is there, else any of those that wait. */
function candidates() {
  const waiting = [...held.keys()];
  const main = waiting.filter((server) => portOf(held.get(server)) === Number(process.env.PORT));
  return main.length ? main : waiting;
}

/** GET the health route of one server. Redirects are not followed: a login page is not health. */
async function ask(server) {
  asked = server;
  const { path: route, timeout_ms: timeout } = settings.health;
  const began = now();
  const signal = AbortSignal.timeout(timeout);
  const headers = { host: 'localhost', 'user-agent': 'gapless', connection: 'close' };
  try {
    const request = httpGet({ socketPath: files.socket, path: route, headers, signal });
    request.on('error', ignore); // we hear of it below
    const [response] = await once(request, 'response');
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) if (body.length < BODY_MAX) body += chunk;
    return { status: response.statusCode, headers: response.headers, body, ms: Math.round(now() - began) };
  } catch (error) {
    return { status: 0, body: '', why: signal.aborted ? `gave no answer within ${timeout} ms` : `failed: ${error.message}` };
  }
}

/** List the release ids that an answer names. */
function namedReleases({ headers, body }) {
  const named = [];
  // The gate's own header is not put on the private socket, so this one is the app's.
  if (marker.header && headers[marker.header.toLowerCase()] !== undefined) named.push(headers[marker.header.toLowerCase()]);
  try {
    const parsed = JSON.parse(body);
    if (Object.hasOwn(parsed, 'release')) named.push(parsed.release);
  } catch {
    // Not JSON, or no object: it names nothing.
  }
  return named;
}

/** Tell whether a name is this release: its id, its commit, or enough of the commit. */
function isThisRelease(name) {
  return name === marker.release || (typeof name === 'string' && name.length >= 7 && marker.commit.startsWith(name));
}

/** Judge one answer: good, or why not. */
function judge(answer) {
  const route = `GET ${settings.health.path}`;
  if (!answer.status) return { ...answer, why: `${route} ${answer.why}` };
  if (answer.status !== 200) {
    const target = answer.headers.location ? ` to ${answer.headers.location}` : '';
    return { ...answer, why: `${route} answered ${answer.status}${target}, want 200` };
  }
  const stranger = namedReleases(answer).find((name) => !isThisRelease(name));
  if (stranger === undefined) return { ...answer, why: '' };
  return { ...answer, foreign: true, why: `${route} named release ${JSON.stringify(stranger)}, want ${[marker.release, marker.commit].filter(Boolean).join(' or ')}` };
}

/** Ask the servers that count, one after the other, until one is good. */
async function examine() {
  if (missesPort()) return { why: `it wants to listen on ${wantedPorts().join(', ')}, but PORT is ${process.env.PORT}` };
  const verdicts = [];
  for (const server of candidates()) {
    const verdict = judge(await ask(server));
    if (!verdict.why) return verdict;
    verdicts.push(verdict);
  }
  const why = verdicts.map((verdict) => verdict.why).join('; ') || 'the app closed its server again';
  return { ...(verdicts.find((verdict) => verdict.foreign) ?? verdicts[0]), why };
}

/** Note an answer that is not good; the worker stays (or is again) held. */
function refuse({ why, foreign, status, ms, body }) {
  refusal = body;
  if (foreign) return crash('release', why, body); // a worker does not become another release by waiting
  if (now() > deadline) return crash('health', why, body);
  if (worker.state !== 'held' || worker.why !== why) enter('held', { why, health: status ? { status, ms } : null });
}

/** Ask until the app was healthy for the whole hold time, then let it listen. */
async function guard() {
  enter('held', { ports: wantedPorts(), why: 'not asked yet' });
  const began = now();
  let goodSince = null;
  let hold = 0;
  while (!draining) {
    const verdict = await examine();
    if (draining) return;
    if (verdict.why) {
      goodSince = null;
      refuse(verdict);
      await sleep(pause(began));
      continue;
    }
    if (goodSince === null) {
      goodSince = now();
      hold = reloadSettings().hold_ms ?? 0;
      enter('settling', { health: { status: 200, ms: verdict.ms }, ports: wantedPorts(), why: '' });
    }
    const left = goodSince + hold - now();
    if (left <= 0) return open();
    await sleep(Math.min(POLL_MS[1], left));
  }
}

/** Say how long to leave an app alone that was not good: what is ready soon is seen soon, and what takes long is not pestered. */
const pause = (since) => Math.min(Math.max((now() - since) / 10, POLL_MS[0]), POLL_MS[1]);

/** Tell whether the app listens, but not where hosts.yaml says that clients come in. */
function missesPort() {
  const wanted = wantedPorts();
  return Boolean(settings.port) && wanted.length > 0 && !wanted.includes(Number(process.env.PORT));
}

function wantedPorts() {
  return [...held.values()].map(portOf).filter((port) => port !== null);
}

/** Count a process without a health route as ready when it loaded and stayed alive. */
async function guardWithoutHealth() {
  enter('settling');
  await sleep(Math.max(STABLE_MS, reloadSettings().hold_ms ?? 0), undefined, { ref: false });
  if (!draining) open();
}

/** Give up on an app that did not get ready in `ms`. */
function onDeadline(ms) {
  if (worker.state === 'held') crash('health', `${worker.why} (for ${ms} ms)`, refusal);
  if (worker.state !== 'boot') return;
  crash('no-listen', settings.health ? `the app did not call listen() within ${ms} ms` : `the script did not finish loading within ${ms} ms`);
}

// ----------------------------------------------------------------------------------------------------- open

/** Let one server listen with the arguments it came with. */
function listenNow([server, args]) {
  return new Promise((resolve) => {
    // At once, before a listener of the app throws (ws does) and makes another reason of it.
    const fail = (error) => crashOn('listen', error);
    server.prependOnceListener('error', fail);
    server.once('listening', () => {
      server.off('error', fail);
      resolve();
    });
    netListen.apply(server, args);
  });
}

/** Let everything listen, hand the process over to the app, and tell PM2. */
async function open() {
  if (withdrawn()) return exit(1); // PM2 starts what the link points to
  opening = true;
  opened = Promise.all([...held].map(listenNow)).catch((error) => crashOn('listen', error));
  await opened;
  if (draining) return undefined;
  process.off('uncaughtException', onException);
  process.off('unhandledRejection', onRejection);
  const addresses = [...servers].filter((server) => server.listening).map((server) => server.address());
  enter('open', { ports: addresses.map((address) => address?.port).filter(Boolean) });
  return processSend?.('ready');
}

/** Keep the app's own "ready" from PM2: it is not the app that decides. */
function ownReady() {
  const forward = process.send;
  process.send = function send(message, ...rest) {
    if (message !== 'ready') return forward.call(this, message, ...rest);
    const done = rest.at(-1);
    if (typeof done === 'function') process.nextTick(done, null);
    return true;
  };
}

/** Add a header to what writeHead() is about to send. In a list it must not be doubled; an object overrides it. */
function addHeader(response, args, name, value) {
  const list = args.at(-1);
  if (!Array.isArray(list)) return response.setHeader(name, value);
  const pairs = Array.isArray(list[0]);
  const names = pairs ? list.map(([key]) => key) : list.filter((_, index) => index % 2 === 0);
  if (names.some((key) => String(key).toLowerCase() === name.toLowerCase())) return undefined;
  args[args.length - 1] = pairs ? [...list, [name, value]] : [...list, name, value];
  return undefined;
}

/** Put the release on every answer, and `Connection: close` once we are stopping. */
function ownAnswers(prototype, { closing }) {
  const { writeHead } = prototype;
  prototype.writeHead = function (...args) {
    const ours = this.req?.socket?.server === privateServer;
    if (!this.headersSent && !ours) {
      if (marker.header && !this.hasHeader(marker.header)) addHeader(this, args, marker.header, marker.release);
      if (closing && draining) addHeader(this, args, 'Connection', 'close');
    }
    return writeHead.apply(this, args);
  };
}

// ----------------------------------------------------------------------------------------------------- stop

/**
 * Own the stop signals: while the gate drains, the app's listeners stay in their places but hear nothing.
 * Else Fastify would answer 503 on living connections, and an app without listeners would die at once.
 */
function ownStopSignals() {
  process.emit = function emit(event, ...args) {
    const wanted = STOP_SIGNALS.includes(event) || (event === 'message' && args[0] === 'shutdown');
    if (!wanted || released) return processEmit.call(this, event, ...args);
    stop(event, args);
    return true;
  };
  // A signal is only delivered when somebody listens; taking listeners off and on makes node see the new emit.
  for (const signal of STOP_SIGNALS) {
    const before = process.rawListeners(signal);
    process.removeAllListeners(signal).on(signal, ignore);
    for (const listener of before) process.on(signal, listener);
  }
}

function ignore() {}

/** Finish what is in flight, then let the app go. A second signal changes nothing. */
function stop(event, args) {
  if (draining) return;
  const killTimeout = Math.min(settings.kill_timeout_ms, pm2.killTimeout || Infinity);
  const left = opening ? killTimeout : HELD_STOP_MS;
  const end = now() + left;
  enter('stopping');
  draining = drain(end - Math.min(CURFEW_MS, left / 2));
  draining.finally(() => leave(event, args, end - left / 20));
}

/** See all connections off, the idle ones after the time in which their clients may rightly use them again. */
async function drain(curfew) {
  await opened; // half open is open: a connection may be on its way to us
  const listening = [...servers].filter((server) => server.listening);
  if (!listening.length) return;
  const began = now();
  const { drained = false, since = Date.now() - FRESH_MS } = reloadSettings();
  const linger = Math.max(...listening.map(keepAlive)) + GRACE_MS;
  // Not http's own close(): that would cut idle connections under clients that are about to use them.
  for (const server of listening) netClose.call(server);
  for (const session of sessions) session.close();
  while (sockets.size && now() < curfew) {
    if (now() - began >= linger || (drained && rests(since))) closeIdle(listening);
    await sleep(50);
  }
  for (const socket of sockets) socket.destroy();
  await sleep(Math.max(0, began + GRACE_MS - now()));
}

/**
 * Tell whether nobody has talked to a drained host since it was drained, for long enough to know: who does comes past the balancer, on
 * connections of their own. The balancer's rest from then on, however lately they were used before.
 */
function rests(since) {
  const ms = Date.now() - since;
  return ms >= FRESH_MS && ![...sockets].some((socket) => now() - (askedAt.get(socket) ?? -Infinity) < ms);
}

/** Tell how long a client may keep an idle connection to this server; HTTP/2 servers do not say. */
function keepAlive({ keepAliveTimeout = KEEP_ALIVE_MS }) {
  return keepAliveTimeout === 0 ? Infinity : keepAliveTimeout;
}

/** Close the connections that carry nothing. */
function closeIdle(listening) {
  // Node takes an answer for finished when it was handed over, not when it was sent: a slow client would lose the end.
  if ([...sockets].some((socket) => socket.writableLength)) return;
  for (const server of listening) server.closeIdleConnections?.();
  for (const socket of sockets) if (!socket.bytesRead) socket.destroy(); // opened ahead, never used
}

/** Run the app's own handlers, or leave. They may raise the signal again, and then it ends the process. */
function leave(event, args, end) {
  released = true;
  forget();
  for (const signal of STOP_SIGNALS) process.off(signal, ignore);
  const heard = event === 'message' && process.listenerCount('message') > messageListeners;
  const signal = [event, ...STOP_SIGNALS].find((name) => STOP_SIGNALS.includes(name) && process.listenerCount(name));
  if (heard) process.emit(event, ...args);
  else if (signal) process.emit(signal, signal, os.constants.signals[signal]);
  else exit(0);
  process.channel?.unref(); // an app that closed everything it had may end by itself
  setTimeout(exit, Math.max(0, end - now()), 0).unref();
}

// ---------------------------------------------------------------------------------------------------- start

const messageListeners = process.listenerCount('message'); // PM2's own

/** Read the release, prepare the process, and give it to the app. */
function start() {
  fs.mkdirSync(RUN, { recursive: true, mode: 0o700 });
  const release = fs.realpathSync(process.cwd());
  marker = readMarker(release);
  settings = marker.processes[pm2.name];
  opening = !settings.health; // nothing is held then
  worker.release = marker.release;
  const script = fs.realpathSync(path.resolve(release, settings.script));
  exactEnv(release);
  if (settings.health) privateServer = openPrivateSocket();
  enter('boot');
  return script;
}

process.on('exit', onExit);
process.on('uncaughtException', onException);
process.on('unhandledRejection', onRejection);
recordOutput();

let script;
try {
  script = start();
} catch (error) {
  crashOn('config', error);
}

const patience = reloadSettings().deadline_ms ?? settings.healthy_deadline_ms;
deadline = now() + patience;
setTimeout(onDeadline, patience, patience).unref();
ownReady();
ownStopSignals();
ownAnswers(http.ServerResponse.prototype, { closing: true });
ownAnswers(http2.Http2ServerResponse.prototype, { closing: false });
load(script).then(
  () => settings.health || guardWithoutHealth(),
  (error) => process.nextTick(() => { throw error; }), // an exception, also in PM2's eyes
);
