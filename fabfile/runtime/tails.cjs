'use strict';
// Log files: their last lines, and what is added to them, though they be renamed or emptied meanwhile. Bounded memory.

const fs = require('fs');
const path = require('path');
const { attempt } = require('./truth.cjs');

const FIRST = 256 * 1024; // bytes from the end in which lines are looked for at first
const MOST = 8 * 1024 * 1024; // and at most
const STEP = 64 * 1024; // bytes that are read at once of what is added
const LONGEST = 64 * 1024; // bytes of a line; the rest of a longer one is not given
const IDLE_MS = 1000; // a line without its end is shown after that

/** Read bytes of an open file. */
function bytes(fd, from, length) {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, fs.readSync(fd, buffer, 0, length, from));
}

/** Give the lines at the end of a file, `window` bytes of it at most; of one whose beginning is out of sight only the rest is known. */
function ending(file, window, end = Infinity) {
  const fd = fs.openSync(file, 'r');
  try {
    const size = Math.min(fs.fstatSync(fd).size, end);
    const from = Math.max(0, size - window);
    const lines = bytes(fd, from, size - from).toString().split('\n');
    if (lines.at(-1) === '') lines.pop();
    return { lines: from > 0 ? lines.slice(1) : lines, whole: from === 0 };
  } finally {
    fs.closeSync(fd);
  }
}

/** Give the place after the last whole line. */
function lineEnd(fd, size) {
  const last = bytes(fd, Math.max(0, size - LONGEST), Math.min(size, LONGEST));
  return last.includes(10) ? size - last.length + last.lastIndexOf(10) + 1 : size;
}

/** Look further and further back until `enough(lines)`, the beginning, or the limit; `cut` says that there was more. */
function back(file, enough, end) {
  for (let window = FIRST; ; window *= 4) {
    const { lines, whole } = ending(file, Math.min(window, MOST), end);
    if (whole || window >= MOST || enough(lines)) return { lines, cut: !whole && window >= MOST };
  }
}

/** Name what a rotation has made of a file, the newest first: name__2026-11-24.log of pm2-logrotate, name.log.1 of logrotate. */
function older(file) {
  const dir = path.dirname(file);
  const { name, ext, base } = path.parse(file);
  const rotated = (other) => (other.startsWith(`${name}__`) && other.endsWith(ext)) || (other.startsWith(`${base}.`) && /\.\d+$/.test(other));
  return attempt(() => fs.readdirSync(dir), [])
    .filter(rotated)
    .map((other) => path.join(dir, other))
    .map((other) => ({ file: other, mtime: attempt(() => fs.statSync(other).mtimeMs, 0) }))
    .sort((a, b) => b.mtime - a.mtime);
}

/** Follow one path: `fresh()` gives the lines that were added since it was last asked. */
class Tail {
  /** Begin at `place` ({ino, at}) if the file is still that one or was rotated away; without a place at its end, or its beginning. */
  constructor(file, place, fromStart = false) {
    this.file = file;
    this.rest = Buffer.alloc(0);
    this.fed = Date.now();
    this.over = false; // in the middle of a line that is too long: its rest is not given
    this.fd = attempt(() => fs.openSync(this.found(place), 'r'));
    const stat = this.fd === null ? null : fs.fstatSync(this.fd);
    this.ino = stat && stat.ino;
    this.at = !stat || fromStart ? 0 : lineEnd(this.fd, stat.size);
    if (stat && place) this.at = stat.ino === place.ino && place.at <= stat.size ? place.at : 0;
  }

  /** Find the file that a place was in: a rotation may have renamed it while we were away. */
  found(place) {
    const same = (file) => attempt(() => fs.statSync(file).ino === place.ino, false);
    return (place && !same(this.file) && older(this.file).map(({ file }) => file).find(same)) || this.file;
  }

  /** Say up to where lines were given. */
  get place() {
    return { ino: this.ino, at: this.at - this.rest.length };
  }

  fresh() {
    const lines = this.added();
    const now = attempt(() => fs.statSync(this.file));
    if (!now || (now.ino === this.ino && this.fd !== null)) return lines;
    // Renamed, and a new one is in its place: its predecessor is read to its end first.
    if (lines.length) return lines;
    const last = this.rest.length ? [this.rest.toString()] : [];
    this.close();
    Object.assign(this, { fd: attempt(() => fs.openSync(this.file, 'r')), ino: now.ino, at: 0, rest: Buffer.alloc(0), over: false });
    return [...last, ...this.added()];
  }

  added() {
    if (this.fd === null) return [];
    const { size } = fs.fstatSync(this.fd);
    if (size < this.at) Object.assign(this, { at: 0, rest: Buffer.alloc(0) }); // emptied (pm2 flush)
    const chunk = bytes(this.fd, this.at, Math.min(STEP, size - this.at));
    this.at += chunk.length;
    if (!chunk.length) return this.unfinished();
    this.fed = Date.now();
    const all = Buffer.concat([this.rest, chunk]);
    const end = all.lastIndexOf(10) + 1;
    this.rest = all.subarray(end);
    const lines = end ? all.subarray(0, end - 1).toString().split('\n') : [];
    if (end && this.over) lines.shift(); // the end of a line whose beginning was given
    if (end) this.over = false;
    if (this.rest.length <= LONGEST) return lines;
    const first = this.flush();
    const given = this.over ? [] : first;
    this.over = true;
    return [...lines, ...given];
  }

  unfinished() {
    return this.rest.length && Date.now() - this.fed > IDLE_MS ? this.flush() : [];
  }

  flush() {
    const line = this.rest.toString();
    this.rest = Buffer.alloc(0);
    return [line];
  }

  close() {
    if (this.fd !== null) fs.closeSync(this.fd);
  }
}

module.exports = { LONGEST, Tail, back, older };
