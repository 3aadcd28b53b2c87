'use strict';
// One command of a person on this host: its output passed on as it comes, its end told, and all of it ended when we must go.
//
//   execute.cjs ROOT PM2_DIR WANTED       (by loader.cjs)
//
// WANTED is JSON: {command, timeout_ms}. Prints events `output` {lines: [{kind, text}]}, and at last `ended` {code, signal, late}.

const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawn } = require('child_process');
const { passed } = require('./passed.cjs');
const { LONGEST } = require('./tails.cjs');

const WIDTH = 16384; // characters of a line that are passed on
const EVERY_MS = 100;
const BATCH = 200; // lines of an event
const MERCY_MS = 2000; // between TERM and KILL
const DRAIN_MS = 500; // for what the command left in its pipes; something in the background may hold them open for ever

const mark = process.env.GAPLESS_MARK || '';
delete process.env.GAPLESS_MARK; // the command could write events of its own

const print = (event, fields) => process.stdout.write(`${mark} ${JSON.stringify({ event, ...fields })}\n`);

const [root, , wanted] = process.argv.slice(2);
const { command, timeout_ms: timeout } = JSON.parse(wanted);
const cwd = fs.existsSync(root) ? root : os.homedir();
// In a group of its own: what it starts goes with it.
const child = spawn('sh', ['-c', command], { cwd, env: { ...process.env, PWD: path.resolve(cwd) }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });

let lines = [];
let late = false;
let finished = false;

/** Pass on what has come; where it comes faster than it leaves, the command waits. */
function pass() {
  while (lines.length) {
    const batch = lines.splice(0, BATCH);
    const texts = passed(root, batch.map(({ text }) => text), WIDTH);
    if (!print('output', { lines: batch.map(({ kind }, turn) => ({ kind, text: texts[turn] })) })) {
      for (const stream of [child.stdout, child.stderr]) stream.pause();
      process.stdout.once('drain', () => [child.stdout, child.stderr].forEach((stream) => stream.resume()));
    }
  }
}

/** Part a stream into lines; the rest of a line that is too long is left out. */
function gather(stream, kind) {
  let rest = '';
  const take = (text) => lines.push({ kind, text });
  stream.setEncoding('utf8').on('data', (chunk) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop().slice(0, LONGEST);
    parts.map((text) => text.slice(0, LONGEST)).forEach(take);
    if (lines.length > BATCH) pass();
  });
  return () => rest && take(rest);
}

/** Signal the command and all that it has started in its group. */
function kill(signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has left already.
  }
}

function end() {
  kill('SIGTERM');
  setTimeout(() => kill('SIGKILL'), MERCY_MS);
}

const rests = [gather(child.stdout, 'out'), gather(child.stderr, 'err')];
const timer = setInterval(pass, EVERY_MS);
const limit = setTimeout(() => {
  late = true;
  end();
}, timeout);

/** Tell the end, once: when the pipes are closed, or a moment after the command has gone. */
function finish(code, signal) {
  if (finished) return;
  finished = true;
  clearInterval(timer);
  clearTimeout(limit);
  for (const rest of rests) rest();
  pass();
  if (late) kill('SIGKILL'); // what ignored the first signal
  process.stdout.write(`${mark} ${JSON.stringify({ event: 'ended', code, signal, late })}\n`, () => process.exit(0));
}

child.on('exit', (code, signal) => setTimeout(finish, DRAIN_MS, code, signal));
child.on('close', finish);
child.on('error', (err) => {
  process.stderr.write(`${err.message}\n`);
  process.exit(1);
});

// Whoever asked is gone.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
  process.on(signal, () => {
    kill('SIGTERM');
    setTimeout(() => process.exit(kill('SIGKILL')), MERCY_MS);
  });
}
process.stdout.on('error', () => process.emit('SIGTERM'));
