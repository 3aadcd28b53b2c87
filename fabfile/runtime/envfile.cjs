'use strict';
// The env files of one host: their names, digests that tell whether values agree, and a new file in the place of an old one.
//
//   node - ROOT < envfile.cjs 3< order.json
//
// The order comes by a file descriptor, for it may hold secrets. Values leave this host only where `show` is asked for.

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { parseEnv } = require('util');

const MOST = 262144; // bytes
const NAME = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const BARE = /^[A-Za-z0-9_./:@%+,~-]+$/; // what can stand without quotes

/** Return fn's value, or null where there is no such file. */
function unlessAbsent(fn) {
  try {
    return fn();
  } catch (err) {
    if (err.code === 'ENOENT' || err.code === 'ENOTDIR') return null;
    throw err;
  }
}

const read = (file) => unlessAbsent(() => fs.readFileSync(file, 'utf8'));
const readJson = (file) => JSON.parse(read(file) || 'null');
const map = (object, fn) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, fn(value, key)]));

// ---------------------------------------------------------------- what a text says

/** Part a text into entries: name, first and last line (from 0), and why node would not read it as it is meant, or "". */
function entries(text) {
  const lines = text.split('\n');
  const found = [];
  for (let at = 0; at < lines.length; at += 1) {
    if (/^\s*(#|$)/.test(lines[at])) continue;
    const match = /^\s*(?:export\s+)?([^=]*?)\s*=\s*(.*)$/.exec(lines[at]);
    const entry = { name: match ? match[1] : '', from: at, to: at, why: '' };
    if (!match) entry.why = 'it is no NAME=value';
    else if (!NAME.test(entry.name)) entry.why = 'what stands before = is no name';
    else if (/^["'`]/.test(match[2])) close(entry, lines, match[2]);
    found.push(entry);
    at = entry.to;
  }
  const known = parseEnv(text);
  const lost = found.find(({ name }) => !Object.hasOwn(known, name));
  if (lost && found.every(({ why }) => !why)) lost.why = 'node does not read it';
  return found;
}

/** Find the end of a value in quotes: node ends it at the next quote of the kind, escaped or not, on whichever line. */
function close(entry, lines, value) {
  const [quote] = value;
  let rest = value.slice(1);
  let at = entry.from;
  while (!rest.includes(quote) && at < lines.length - 1) rest = lines[(at += 1)];
  if (!rest.includes(quote)) {
    entry.why = 'its quote is never closed';
    return;
  }
  entry.to = at;
  if (!/^\s*(#|$)/.test(rest.slice(rest.indexOf(quote) + 1))) entry.why = 'something stands behind its closing quote';
}

/** Write one value so that node reads it back as it is. */
function written(name, value) {
  const forms = [...(BARE.test(value) ? [value] : []), ...["'", '"', '`'].map((quote) => quote + value + quote)];
  const form = forms.find((each) => parseEnv(`${name}=${each}\n`)[name] === value);
  if (form === undefined) throw new Error(`the value of ${name} can't be written so that node reads it back as it is; encode it`);
  return `${name}=${form}`;
}

/** Change single names in a text, and leave all else of it as it stands. */
function merged(text, set, unset) {
  const found = entries(text).filter(({ name }) => Object.hasOwn(set, name) || unset.includes(name));
  const lines = text.split('\n');
  const kept = new Set();
  for (const { name, from, to } of found.reverse()) {
    const again = Object.hasOwn(set, name) && !kept.has(name) ? written(name, set[name]).split('\n') : [];
    kept.add(name);
    lines.splice(from, to - from + 1, ...again);
  }
  const more = Object.keys(set).filter((name) => !kept.has(name)).map((name) => written(name, set[name]));
  const body = lines.join('\n').replace(/\n*$/, '');
  return `${[...(body ? [body] : []), ...more].join('\n')}\n`;
}

const same = (a, b) => Object.keys(a).length === Object.keys(b).length && Object.keys(a).every((name) => Object.hasOwn(b, name) && a[name] === b[name]);

/** Merge, and see by node's own reading that nothing but what was meant has changed. */
function checkedMerge(text, set, unset) {
  const after = merged(text, set, unset);
  const wanted = { ...parseEnv(text), ...set };
  for (const name of unset) delete wanted[name];
  if (!same(parseEnv(after), wanted)) throw new Error('single names of it can\'t be changed without changing others: send it whole (--file)');
  return after;
}

/** Say which names a new text adds, changes and removes. */
function difference(before, after) {
  return {
    added: Object.keys(after).filter((name) => !Object.hasOwn(before, name)).sort(),
    changed: Object.keys(after).filter((name) => Object.hasOwn(before, name) && before[name] !== after[name]).sort(),
    removed: Object.keys(before).filter((name) => !Object.hasOwn(after, name)).sort(),
  };
}

// ---------------------------------------------------------------- what is there

/** Make what may leave this host of values: without the command's key, which nobody keeps, a digest tells nothing. */
function passable({ key, show }, values) {
  const digest = (value, name) => crypto.createHmac('sha256', key).update(`${name}\0${value}`).digest('hex').slice(0, 24);
  return { digests: map(values, digest), ...(show ? { values } : {}) };
}

/** Describe what a process reads at its next start, and which names of it differ from what the last healthy reload read. */
function ofProcess(root, order, name, { env_file: meant }) {
  const link = unlessAbsent(() => fs.readlinkSync(path.join(root, 'current')));
  const release = link && path.join(root, 'releases', path.basename(link));
  const settings = (release && (readJson(path.join(release, '.gapless.json')) || { processes: {} }).processes[name]) || null;
  const file = settings ? settings.env_file : meant;
  const text = file && (read(path.join(release || path.join(root, 'shared'), file)) ?? (settings ? null : read(path.join(root, 'shared', file))));
  const good = read(path.join(root, '.gapless', 'env', `${name}.good`));
  const now = parseEnv(text || '');
  const stale = settings && good !== null ? difference(parseEnv(good), now) : { added: [], changed: [], removed: [] };
  const pins = (readJson(path.join(root, '.gapless', 'run', 'reload.json')) || {}).env_files || {};
  return {
    file, there: typeof text === 'string', release: link && path.basename(link), pinned: Object.hasOwn(pins, name), stale,
    own: passable(order, map((settings && settings.env) || {}, String)), read: passable(order, now),
  };
}

// ---------------------------------------------------------------- a new file

const place = (root, file) => path.join(root, 'shared', file);
const backup = (root, file) => path.join(root, '.gapless', 'env', `${file.replace(/\//g, '_')}.before`);

/** Say what a change would make of a file; `after` stays here. */
function judged(root, order) {
  const { file, text, set, unset } = order.change;
  const target = place(root, file);
  const stat = unlessAbsent(() => fs.lstatSync(target));
  if (stat && !stat.isFile()) throw new Error(`${target} is ${stat.isSymbolicLink() ? 'a link' : 'no file'}; put a file there, and it can be replaced`);
  const before = stat ? fs.readFileSync(target, 'utf8') : '';
  const after = text === null ? checkedMerge(before, set, unset) : text;
  if (Buffer.byteLength(after) > MOST) throw new Error(`${target} would be larger than ${MOST / 1024} KiB`);
  const unread = entries(after).filter(({ why }) => why).map(({ from, why }) => ({ line: from + 1, why }));
  const names = difference(parseEnv(before), parseEnv(after));
  const values = order.show ? { before: parseEnv(before), after: parseEnv(after) } : {};
  return { after, target, there: Boolean(stat), said: { file, unread, ...names, same: Boolean(stat) && before === after, ...values } };
}

/** Write a file that nobody else may read, whole or not at all. */
function replace(target, text) {
  const aside = `${target}.next`;
  fs.rmSync(aside, { force: true });
  const fd = fs.openSync(aside, 'wx', 0o600);
  try {
    fs.writeSync(fd, text);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    fs.renameSync(aside, target);
  } catch (err) {
    fs.rmSync(aside, { force: true });
    throw err;
  }
  const dir = fs.openSync(path.dirname(target), 'r');
  fs.fsyncSync(dir);
  fs.closeSync(dir);
}

/** Keep the one version of before, then put the new one in its place. */
function write(root, { after, target, there, said }) {
  if (said.same && (fs.statSync(target).mode & 0o777) === 0o600) return;
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.mkdirSync(path.join(root, '.gapless', 'env'), { recursive: true, mode: 0o700 });
  if (there) replace(backup(root, said.file), fs.readFileSync(target, 'utf8'));
  replace(target, after);
}

// ---------------------------------------------------------------- the order

function carryOut(root, order) {
  if (!order.change) return { processes: map(order.processes, (meant, name) => ofProcess(root, order, name, meant)) };
  const made = judged(root, order);
  if (order.write && !made.said.unread.length) write(root, made);
  return { change: made.said };
}

try {
  const order = JSON.parse(fs.readFileSync(3, 'utf8'));
  const said = JSON.stringify({ event: 'env', ...carryOut(process.argv[2], order) });
  process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${said}\n`);
} catch (err) {
  // Never a stack, nor what JSON has to say: both quote what was read.
  process.stderr.write(`${err instanceof SyntaxError ? 'a file in .gapless or a marker there is no JSON' : err.message}\n`);
  process.exitCode = 1;
}
