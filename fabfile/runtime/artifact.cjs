'use strict';
// One release as one file (tar, gzip or zstd): packed here, fetched to here, or judged and unpacked here. Sent along by the deployer, never installed.
//   pack DIR FILE NAME...    write what lies in DIR, but for these names, and print its sha256 and bytes
//   unpack FILE SHA DIR      write what lies in FILE into DIR, if it is the right file and nothing in it leads out of DIR
//   fetch FILE               write what the url on stdin answers
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { Readable, Transform } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const zlib = require('node:zlib');

const BLOCK = 512;
const CHUNK = 1 << 20;
const LEVEL = 1; // of gzip: between hosts there is more bandwidth than time
const LONGEST = 1 << 20; // bytes of a name that is told apart from its entry
const MOST_LINKS = 40; // that one path may lead over, as for the kernel
const SILENCE_MS = 60_000;
const REDIRECTS = 5;
const OURS = new Set(['.gapless.json', '.gapless-stable', '.gapless-bad']); // whoever brings these would call itself complete
const MAGIC = { gzip: [0x1f, 0x8b], zstd: [0x28, 0xb5, 0x2f, 0xfd] };

const refuse = (text) => {
  throw new Error(text);
};
const shown = (name) => JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);

// ---------------------------------------------------------------------- what may be in it

/** Give a name's parts; refuse one that leads out of the release. */
function partsOf(name) {
  const parts = name.split('/').filter((part) => part && part !== '.');
  if (name.startsWith('/')) refuse(`${shown(name)} in it is an absolute name`);
  if (parts.includes('..')) refuse(`${shown(name)} in it leads out of the release`);
  if (name.includes('\0')) refuse(`${shown(name)} in it is no name of a file`);
  return parts;
}

/** Refuse a link that leads out of the release, be it over other links: `links` has the target of each by name. */
function judgeLink(name, links) {
  const out = () => refuse(`the link ${shown(name)} leads out of the release, to ${shown(links.get(name))}`);
  let followed = 0;
  const follow = (from, target) => {
    if (target.startsWith('/')) out();
    if (++followed > MOST_LINKS) refuse(`the link ${shown(name)} leads over more than ${MOST_LINKS} links`);
    return target.split('/').reduce((at, part) => {
      if (!part || part === '.') return at;
      if (part === '..') return at.length ? at.slice(0, -1) : out();
      const next = [...at, part];
      const further = links.get(next.join('/'));
      return further === undefined ? next : follow(at, further);
    }, from);
  };
  follow(name.split('/').slice(0, -1), links.get(name));
}

// ---------------------------------------------------------------------- pack

/** Give one header block (POSIX ustar); owners stay behind, so that the same tree is the same file. */
function header(name, { mode = 0, size = 0, mtime = 0, type = '0', link = '' }) {
  const block = Buffer.alloc(BLOCK);
  const octal = (value, at, length) => block.write(`${Math.floor(value).toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  block.write(name, 0, 100);
  for (const [value, at, length] of [[mode & 0o777, 100, 8], [0, 108, 8], [0, 116, 8], [mtime, 136, 12]]) octal(value, at, length);
  if (size < 8 ** 11) octal(size, 124, 12);
  block.write(`        ${type}`, 148);
  block.write(link, 157, 100);
  block.write('ustar\x0000', 257, 'latin1');
  octal(block.reduce((sum, byte) => sum + byte, 0), 148, 7);
  return block;
}

const padding = (size) => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

/** Give a header, after one that says (pax) what does not fit into it. */
function* headers(name, about) {
  const long = [['path', name, 100], ['linkpath', about.link || '', 100]].filter(([, value, most]) => Buffer.byteLength(value) > most);
  const large = about.size >= 8 ** 11 ? [['size', String(about.size)]] : [];
  const said = Buffer.concat([...long, ...large].map(([key, value]) => record(key, value)));
  if (said.length) yield* [header('pax', { size: said.length, type: 'x' }), said, padding(said.length)];
  yield header(name, about);
}

/** Give one record of a pax header; its length counts its own digits. */
function record(key, value) {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

/** List what lies in a directory, in order, as name and stat. */
function* listed(dir, without, below = '') {
  for (const each of fs.readdirSync(path.join(dir, below)).sort()) {
    const name = below ? `${below}/${each}` : each;
    if (without.has(name)) continue;
    const stat = fs.lstatSync(path.join(dir, name));
    yield { name, stat };
    if (stat.isDirectory()) yield* listed(dir, without, name);
  }
}

/** Give the whole archive, piece by piece. */
function* archive(dir, without) {
  const links = new Map();
  for (const { name, stat } of listed(dir, without)) {
    const about = { mode: stat.mode, mtime: stat.mtimeMs / 1000 };
    if (stat.isDirectory()) yield* headers(`${name}/`, { ...about, type: '5' });
    else if (stat.isSymbolicLink()) {
      links.set(name, fs.readlinkSync(path.join(dir, name)));
      yield* headers(name, { ...about, type: '2', link: links.get(name) });
    } else if (stat.isFile()) {
      yield* headers(name, { ...about, size: stat.size });
      yield* content(path.join(dir, name), stat.size);
      yield padding(stat.size);
    }
  }
  for (const name of links.keys()) judgeLink(name, links);
  yield Buffer.alloc(2 * BLOCK);
}

/** Give just so many bytes of a file. */
function* content(file, size) {
  const handle = fs.openSync(file);
  try {
    for (let left = size; left > 0;) {
      const chunk = Buffer.alloc(Math.min(CHUNK, left));
      const got = fs.readSync(handle, chunk);
      if (!got) refuse(`${file} became shorter while it was packed`);
      left -= got;
      yield chunk.subarray(0, got);
    }
  } finally {
    fs.closeSync(handle);
  }
}

async function pack(dir, file, ...without) {
  const hash = createHash('sha256');
  let bytes = 0;
  const count = new Transform({
    transform(chunk, _, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  const skipped = new Set([...OURS, ...without.map((name) => partsOf(name).join('/'))]);
  await pipeline(Readable.from(archive(dir, skipped)), zlib.createGzip({ level: LEVEL }), count, fs.createWriteStream(file, { mode: 0o600 }));
  process.stdout.write(`${hash.digest('hex')} ${bytes}\n`);
}

// ---------------------------------------------------------------------- unpack

/** Hold a stream of bytes that are asked for in pieces of any length. */
class Bytes {
  constructor(stream) {
    this.chunks = stream[Symbol.asyncIterator]();
    this.rest = Buffer.alloc(0);
  }

  /** Give some bytes, `most` at most; null at the end. */
  async some(most) {
    while (!this.rest.length) {
      const { value, done } = await this.chunks.next();
      if (done) return null;
      this.rest = value;
    }
    const part = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(part.length);
    return part;
  }

  /** Give so many bytes to `take`, or refuse an archive that has fewer. */
  async each(size, take) {
    for (let left = size; left > 0;) {
      const part = (await this.some(left)) || refuse('it ends in the middle');
      take(part);
      left -= part.length;
    }
  }

  async exactly(size) {
    const parts = [];
    await this.each(size, (part) => parts.push(part));
    return Buffer.concat(parts);
  }

  /** Read on to the end: only there does a compressed stream prove whole. */
  async drain() {
    while (await this.some(CHUNK));
  }
}

const text = (block, at, length) => block.subarray(at, at + length).toString().replace(/\0.*$/s, '');

/** Read a number: octal, or binary where the first bit says so. */
function number(block, at, length) {
  const field = block.subarray(at, at + length);
  if (field[0] & 0x80) return Number(BigInt(`0x${field.toString('hex')}`) & ((1n << BigInt(8 * length - 1)) - 1n));
  return Number.parseInt(text(block, at, length).trim() || '0', 8);
}

function head(block) {
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (sum !== number(block, 148, 8)) refuse('it is no tar archive, or a damaged one');
  const prefix = text(block, 257, 8).startsWith('ustar') && block[262] === 0 ? text(block, 345, 155) : '';
  const name = text(block, 0, 100);
  return {
    name: prefix ? `${prefix}/${name}` : name, mode: number(block, 100, 8), size: number(block, 124, 12), mtime: number(block, 136, 12),
    type: String.fromCharCode(block[156] || 48), link: text(block, 157, 100),
  };
}

/** Read the records of a pax header. */
function pax(data) {
  const found = {};
  for (let at = 0; at < data.length;) {
    const length = Number.parseInt(data.subarray(at, at + 20).toString('latin1'), 10);
    if (!(length > 0)) refuse('it has a damaged header');
    const line = data.subarray(at, at + length - 1).toString();
    found[line.slice(line.indexOf(' ') + 1, line.indexOf('='))] = line.slice(line.indexOf('=') + 1);
    at += length;
  }
  return found;
}

/** Give entry after entry, each with what was said of it in headers before; whoever takes one must read its `size` bytes. */
async function* entries(bytes) {
  let said = {};
  let common = {};
  for (;;) {
    const block = await bytes.exactly(BLOCK);
    if (block.every((byte) => byte === 0)) return;
    const entry = head(block);
    if ('xgLK'.includes(entry.type)) {
      if (entry.size > LONGEST) refuse('it has a header that is too long');
      const data = await bytes.exactly(entry.size);
      await bytes.exactly(padding(entry.size).length);
      if (entry.type === 'g') common = { ...common, ...pax(data) };
      else said = { ...said, ...(entry.type === 'x' ? pax(data) : { [entry.type === 'L' ? 'path' : 'linkpath']: text(data, 0, data.length) }) };
      continue;
    }
    const { path: name = entry.name, linkpath: link = entry.link, size = entry.size, mtime = entry.mtime, ...more } = { ...common, ...said };
    if (Object.keys(more).some((key) => key.startsWith('GNU.sparse'))) refuse(`${shown(name)} in it is sparse; pack it without --sparse`);
    yield { ...entry, name, link, size: Number(size), mtime: Number(mtime) };
    said = {};
  }
}

/** Write one archive into a directory that was empty; links come last, so that nothing is ever written through one. */
class Unpacking {
  constructor(dir) {
    this.dir = dir;
    this.files = new Set();
    this.links = new Map();
    this.times = [];
  }

  at(parts) {
    return path.join(this.dir, ...parts);
  }

  /** Make the directories above a name, once. */
  above(parts) {
    if (parts.length > 1) fs.mkdirSync(this.at(parts.slice(0, -1)), { recursive: true });
  }

  async take(entry, bytes) {
    const parts = partsOf(entry.name);
    const name = parts.join('/');
    const ours = OURS.has(name);
    if ('07'.includes(entry.type) && !entry.name.endsWith('/') && parts.length && !ours) {
      await this.file(parts, name, entry, bytes);
      return;
    }
    if (!'01257'.includes(entry.type)) refuse(`${shown(entry.name)} in it is neither a file nor a directory nor a link (type ${shown(entry.type)})`);
    if (entry.size && '07'.includes(entry.type)) await bytes.each(entry.size, () => {});
    if (!parts.length || ours) return;
    this.above(parts);
    if (entry.type === '2') this.links.set(name, entry.link);
    else if (entry.type === '1') this.again(parts, name, partsOf(entry.link).join('/'));
    else {
      fs.mkdirSync(this.at(parts), { recursive: true });
      fs.chmodSync(this.at(parts), (entry.mode & 0o777) | 0o700);
      this.times.push([this.at(parts), entry.mtime]);
    }
  }

  async file(parts, name, { mode, size, mtime }, bytes) {
    this.above(parts);
    const handle = fs.openSync(this.at(parts), 'wx', (mode & 0o777) | 0o600);
    try {
      await bytes.each(size, (part) => fs.writeSync(handle, part));
      fs.futimesSync(handle, mtime, mtime); // caches compare it, on one host and another
    } finally {
      fs.closeSync(handle);
    }
    this.files.add(name);
  }

  /** Make a second name of a file that came before. */
  again(parts, name, target) {
    if (!this.files.has(target)) refuse(`${shown(name)} in it is a second name of ${shown(target)}, which is no file in it`);
    fs.linkSync(this.at(target.split('/')), this.at(parts));
    this.files.add(name);
  }

  finish() {
    for (const name of this.links.keys()) judgeLink(name, this.links);
    for (const [name, target] of this.links) fs.symlinkSync(target, path.join(this.dir, name));
    for (const [place, mtime] of this.times.reverse()) fs.utimesSync(place, mtime, mtime);
  }
}

async function sha256(file) {
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(file, { highWaterMark: CHUNK }), hash);
  return hash.digest('hex');
}

/** Give the stream that undoes a file's compression, by how it begins. */
function decompressor(file) {
  const handle = fs.openSync(file);
  const start = Buffer.alloc(4);
  fs.readSync(handle, start);
  fs.closeSync(handle);
  const [kind] = Object.entries(MAGIC).find(([, magic]) => magic.every((byte, at) => start[at] === byte)) || refuse('it is neither gzip nor zstd');
  if (kind === 'zstd' && !zlib.createZstdDecompress) refuse(`it is zstd, which node ${process.versions.node} can't read (22.15 can); pack it with gzip`);
  return kind === 'gzip' ? zlib.createGunzip() : zlib.createZstdDecompress();
}

async function unpack(file, wanted, dir) {
  const found = await sha256(file);
  if (found !== wanted) refuse(`its sha256 is ${found}, want ${wanted}`);
  const stream = decompressor(file);
  const whole = pipeline(fs.createReadStream(file, { highWaterMark: CHUNK }), stream, async (plain) => {
    const bytes = new Bytes(plain);
    const unpacking = new Unpacking(dir);
    for await (const entry of entries(bytes)) {
      await unpacking.take(entry, bytes);
      if ('07'.includes(entry.type)) await bytes.exactly(padding(entry.size).length);
    }
    await bytes.drain();
    unpacking.finish();
  });
  await whole;
}

// ---------------------------------------------------------------------- fetch

/** Follow redirects by hand: a token that came by https must not go on by http. */
async function answerOf(url, signal) {
  for (let at = new URL(url), left = REDIRECTS; ; left--) {
    const answer = await fetch(at, { redirect: 'manual', signal });
    const next = answer.status >= 300 && answer.status < 400 && answer.headers.get('location');
    if (!next) return answer.ok ? answer : refuse(`${at.host} answered ${answer.status}`);
    const there = new URL(next, at);
    if (!left) refuse(`${at.host} leads from one address to another, more than ${REDIRECTS} times`);
    if (there.protocol !== 'https:' && at.protocol === 'https:') refuse(`${at.host} leads to ${there.protocol}//${there.host}, which is no https`);
    at = there;
  }
}

async function download(file) {
  const url = fs.readFileSync(0, 'utf8').trim();
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  };
  heard();
  const answer = await answerOf(url, silence.signal);
  const listen = new Transform({
    transform(chunk, _, done) {
      heard();
      done(null, chunk);
    },
  });
  await pipeline(Readable.fromWeb(answer.body), listen, fs.createWriteStream(file, { mode: 0o600 }));
  clearTimeout(timer);
}

const [, order, ...words] = process.argv;
({ pack, unpack, fetch: download })[order](...words).catch((err) => {
  const why = err.cause?.message || err.message;
  process.stderr.write(`${why}\n`, () => process.exit(1));
});
