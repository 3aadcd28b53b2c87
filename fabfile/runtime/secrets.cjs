'use strict';
// Text that may leave this host: without the values of the app's settings, whoever printed them.
//
//   node secrets.cjs ROOT FILE [ENV_FILE]...     print the last lines of FILE as they may be passed on

const fs = require('fs');
const path = require('path');
const { parseEnv } = require('util');
const mask = require('./mask.cjs');
const truth = require('./truth.cjs');

const TAIL = 30; // lines
const WINDOW = 1024 * 1024; // bytes in which they are looked for

/** Return fn's value, or `otherwise` when there is no such file. Of one that can't be read nobody knows what it hides. */
function unlessAbsent(fn, otherwise) {
  try {
    return fn();
  } catch (err) {
    if (err.code === 'ENOENT' || err.code === 'ENOTDIR') return otherwise;
    throw err;
  }
}

const names = (dir) => unlessAbsent(() => fs.readdirSync(dir), []);
const isFile = (file) => unlessAbsent(() => fs.statSync(file).isFile(), false);

/** Give what the marker of a release says of its processes; a release that is being built has none yet. */
function processes(release) {
  const text = unlessAbsent(() => fs.readFileSync(path.join(release, '.gapless.json'), 'utf8'), '{}');
  return Object.values((truth.attempt(() => JSON.parse(text)) || {}).processes || {});
}

/** List the env files of a release: those that the gate reads, and those that frameworks read by themselves. */
function envFiles(release) {
  const named = processes(release).map((each) => each.env_file).filter(Boolean);
  return [...named, ...names(release).filter((name) => /^\.env(\.|$)/.test(name))].map((name) => path.join(release, name));
}

/** Read all that the app was ever given here, as a list of [name, value]: old code prints old values. */
function values(root, files) {
  const releases = names(path.join(root, 'releases')).map((name) => path.join(root, 'releases', name));
  const good = path.join(root, '.gapless', 'env');
  const all = [...files, ...names(good).map((name) => path.join(good, name)), ...releases.flatMap(envFiles)].filter(isFile);
  const read = [...new Set(all.map((file) => fs.realpathSync(file)))].map((file) => parseEnv(fs.readFileSync(file, 'utf8')));
  return [...read, ...releases.flatMap(processes).map((each) => each.env || {})].flatMap(Object.entries);
}

/** Give a text as it may be passed on; where nobody can tell what is secret in it, say that in its place. */
function passable(root, text, files = []) {
  try {
    return mask.hide(text, values(root, files));
  } catch (err) {
    return `[not shown, for what is secret in it is not known: ${err.message}]`;
  }
}

/** Give the last lines of a file. One whose beginning is out of sight may begin in the middle of a secret. */
function lastLines(file) {
  const { size } = fs.statSync(file);
  const fd = fs.openSync(file, 'r');
  const bytes = Buffer.alloc(Math.min(size, WINDOW));
  fs.readSync(fd, bytes, 0, bytes.length, size - bytes.length);
  fs.closeSync(fd);
  const lines = bytes.toString().trimEnd().split('\n');
  if (size > WINDOW) lines.splice(0, 1, ...(lines.length < TAIL ? [`[a line that began more than ${WINDOW} bytes ago]`] : []));
  return lines.slice(-TAIL);
}

module.exports = { lastLines, passable };

if (require.main === module) {
  const [root, file, ...files] = process.argv.slice(2);
  process.stdout.write(`${passable(root, lastLines(file).join('\n'), files)}\n`);
}
