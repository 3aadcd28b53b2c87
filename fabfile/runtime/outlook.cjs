'use strict';
// What a plan wants to know of one host beside its facts: history, and which names of the env files are new. Reads only.
//
//   node - ROOT [PROCESS=ENV_FILE]...      (piped into node; ENV_FILE is relative to ROOT)
//
// Prints one JSON object. A value of an env file never leaves this host: names only.

const fs = require('fs');
const path = require('path');
const { parseEnv } = require('util');

const WINDOW = 256 * 1024; // bytes of the history that are read: some hundred runs
const KEPT = 50;

/** Return fn's value, or `otherwise` when it throws. */
const attempt = (fn, otherwise = null) => {
  try {
    return fn();
  } catch {
    return otherwise;
  }
};

const env = (file) => attempt(() => parseEnv(fs.readFileSync(file, 'utf8')));

/** Name what differs between the env file of now and the one that the last healthy release ran with; null where there was none. */
function changes(root, name, file) {
  const good = env(path.join(root, '.gapless', 'env', `${name}.good`));
  const now = env(path.join(root, file)) || {};
  if (!good) return null;
  const names = (which) => [...new Set([...Object.keys(good), ...Object.keys(now)])].filter(which).sort();
  return {
    added: names((key) => !(key in good)),
    changed: names((key) => key in good && key in now && good[key] !== now[key]),
    removed: names((key) => !(key in now)),
  };
}

/** Read the newest lines of a file, whole ones only. */
function lastLines(file) {
  const fd = fs.openSync(file, 'r');
  const { size } = fs.fstatSync(fd);
  const bytes = Buffer.alloc(Math.min(size, WINDOW));
  fs.readSync(fd, bytes, 0, bytes.length, size - bytes.length);
  fs.closeSync(fd);
  return bytes.toString().split('\n').slice(size > WINDOW ? 1 : 0);
}

/** Tell of the runs that ended well how long their phases took. */
function history(root) {
  return attempt(() => lastLines(path.join(root, '.gapless', 'history.jsonl')), [])
    .map((line) => attempt(() => JSON.parse(line)))
    .filter((run) => run && run.outcome === 'ok' && run.phases)
    .map(({ run, phases, waves }) => ({ run, phases, waves }))
    .slice(-KEPT);
}

const [root, ...named] = process.argv.slice(2);
const files = named.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]);
const answer = {
  event: 'outlook',
  history: history(root),
  env: Object.fromEntries(files.map(([name, file]) => [name, changes(root, name, file)])),
};
process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify(answer)}\n`);
