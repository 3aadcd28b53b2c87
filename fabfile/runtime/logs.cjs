'use strict';
// The app's own words on one host: its processes' output as PM2 keeps it, and why workers died. Reads only.
//
//   logs.cjs ROOT PM2_DIR WANTED       (by loader.cjs)
//
// WANTED is JSON: {names, lines, since, errors, release, grep, follow, places}. `since` is null, "deploy", {ago: ms} or {at: ms}.
// Prints events `entries` {lines: [{at, by, fine, name, id, kind, text}], places}, then `told` {now, notes}, and then, with `follow`,
// `entries` until it is ended; given `places` it goes on from there. What is secret is hidden here, before it leaves the host.

const fs = require('fs');
const os = require('os');
const path = require('path');
const { stripVTControlCharacters } = require('util');
const lines = require('./lines.cjs');
const { passed } = require('./passed.cjs');
const tails = require('./tails.cjs');
const truth = require('./truth.cjs');
const writers = require('./writers.cjs');

const BATCH = 100; // lines of an event
const WIDTH = 2000; // characters of a line that are passed on
const MOST = 5000; // lines that are looked back at
const TICK_MS = 250;
const ROUNDS = 32; // of a tick, in each of which a file gives 64 KB at most: what is told must fit into the memory of this host
const LOOK_MS = 2000; // between two looks for new files
const SAME_DEATH_MS = 60000;
const LAST_OUTPUT = '--- last output ---'; // of a crash log; what follows stands in PM2's own log too

const print = (event, fields) => process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${JSON.stringify({ event, ...fields })}\n`);

// ---------------------------------------------------------------- which files

const logsDir = () => path.join(process.env.PM2_HOME || path.join(os.homedir(), '.pm2'), 'logs');

/** Ask PM2 where it writes; where its daemon is dead or doesn't answer, what it has saved must do. */
async function listed(pm2Dir, names, notes) {
  let envs = truth.saved().map((env) => ({ ...env, ...env.pm2_env }));
  if (truth.daemon().pid) {
    try {
      const pm2 = await truth.connect(pm2Dir);
      envs = (await truth.rpc(pm2, 'getMonitorData', {})).map((item) => item.pm2_env);
      pm2.disconnect();
    } catch (err) {
      notes.push(`PM2 does not answer (${err.message}); its usual files are read`);
    }
  } else notes.push("PM2's daemon is not running; its usual files are read");
  const mine = envs.filter((env) => names.includes(env.name));
  return mine.flatMap(({ name, pm_id: id = null, pm_out_log_path: out, pm_err_log_path: err }) => [
    { file: out, name, id, kind: 'out' }, { file: err, name, id, kind: 'err' },
  ]);
}

/** Find the files that PM2 gives these processes by itself; workers that are gone have left theirs. */
function usual(names) {
  return truth.attempt(() => fs.readdirSync(logsDir()), []).flatMap((base) => {
    const found = /^(.*)-(out|error)(?:-(\d+))?\.log$/.exec(base);
    const name = found && names.find((each) => each.replace(/[^a-zA-Z0-9.-]/g, '-') === found[1]);
    if (!name) return [];
    return [{ file: path.join(logsDir(), base), name, id: found[3] === undefined ? null : Number(found[3]), kind: found[2] === 'out' ? 'out' : 'err' }];
  });
}

/** Give each file once; one that several workers share is nobody's in particular. */
function once(sources) {
  const files = new Map();
  for (const source of sources.filter(({ file }) => file && file !== '/dev/null' && file !== 'NULL')) {
    const known = files.get(source.file);
    files.set(source.file, known && known.id !== source.id ? { ...known, id: null } : source);
  }
  return [...files.values()];
}

// ---------------------------------------------------------------- from lines to entries

/** Make entries of a file's lines. One that says no time takes that of the line before it, of the first that has one, or `usual` ({at, by}). */
function entries(source, raws, usual) {
  const texts = raws.map((raw) => raw.slice(0, tails.LONGEST));
  const said = texts.map(lines.read);
  const first = said.find(({ at }) => at !== null);
  let last = first ? { at: first.at, by: 'near', fine: first.fine } : { ...usual, fine: usual.by === 'seen' };
  return texts.map((text, turn) => {
    const { pid, error, rest } = said[turn];
    const goesOn = rest && turn > 0;
    const bad = error || (goesOn && last.bad);
    last = { ...timed(said[turn], last), bad, pid: pid ?? (goesOn ? last.pid : null) };
    return { ...last, ...source, text };
  });
}

/** Give the time of a line. Seconds tell no order within them, and lines of one file are in order. */
function timed({ at, fine }, last) {
  if (at === null) return { at: last.at, by: last.by === 'line' ? 'near' : last.by, fine: last.fine };
  return { at: !fine && last.at > at && last.at - at < 1000 ? last.at : at, by: 'line', fine };
}

/** Give the crash logs of the gates as entries; those that a reload has told of are in its journal already. */
function crashes(root, told, names) {
  const dir = truth.runDir(root);
  return truth.attempt(() => fs.readdirSync(dir), []).filter((name) => /^crash-\d+\.log$/.test(name)).flatMap((name) => {
    const file = path.join(dir, name);
    const at = truth.attempt(() => fs.statSync(file).mtimeMs);
    const text = (truth.attempt(() => fs.readFileSync(file, 'utf8')) || '').trimEnd().split('\n');
    if (at === null || told.some((other) => other.text[0] === text[0] && Math.abs(other.at - at) < SAME_DEATH_MS)) return [];
    const { pm_id: id = null, name: process = names[0], release } = truth.worker(root, Number(/\d+/.exec(name)[0])) || {};
    return [{ file, at: Math.round(at), text, id, name: process, release }];
  });
}

const deaths = (items, names) => items.flatMap(({ at, text, id = null, name = names[0], release }) =>
  text.filter((each) => each !== LAST_OUTPUT).map((each) => ({ at, by: 'gate', fine: true, name, id, kind: 'crash', text: each, bad: true, release })));

// ---------------------------------------------------------------- which of them

class Choice {
  constructor(root, wanted, notes) {
    this.root = root;
    this.wanted = wanted;
    this.since = sinceWhen(root, wanted.since, notes);
    this.pattern = wanted.grep ? new RegExp(wanted.grep) : null;
    this.unknown = 0;
    this.learn();
  }

  /** Read anew who runs: a reload may have begun. */
  learn() {
    this.writers = this.wanted.release ? new writers.Writers(this.root) : null;
  }

  takes(entry) {
    const { errors, release } = this.wanted;
    if (this.since !== null && entry.at + (entry.fine ? 0 : 999) < this.since) return false;
    if (errors && !entry.bad && entry.kind === 'out') return false;
    if (this.pattern && !this.pattern.test(stripVTControlCharacters(entry.text))) return false;
    return !release || this.wrote(entry);
  }

  wrote(entry) {
    if (entry.kind === 'crash') return Boolean(entry.release) && writers.isCalled(entry.release, this.wanted.release);
    const known = entry.by === 'file' && !entry.pid ? [] : this.writers.of({ ...entry, until: entry.at + (entry.fine ? 0 : 999) });
    if (!known.length) this.unknown += 1;
    return known.some((each) => writers.isCalled(each, this.wanted.release));
  }
}

function sinceWhen(root, since, notes) {
  if (!since) return null;
  if (since !== 'deploy') return since.ago ? Date.now() - since.ago : since.at;
  const at = writers.lastDeploy(root);
  if (at === null) notes.push('no reload was ever run here: nothing is left out');
  return at;
}

// ---------------------------------------------------------------- telling

function tell(root, found, places) {
  if (!found.length) return;
  for (let turn = 0; turn < found.length; turn += BATCH) {
    const batch = found.slice(turn, turn + BATCH);
    const texts = passed(root, batch.map(({ text }) => text), WIDTH);
    const brief = batch.map(({ at, by, fine, name, id, kind }, each) => ({ at, by, fine, name, id, kind, text: texts[each] }));
    print('entries', { lines: brief, ...(turn + BATCH >= found.length && places ? { places } : {}) });
  }
}

// ---------------------------------------------------------------- looking back

/** Give the entries of one file and of what was rotated away from it, as far back as they can be wanted. */
function past(source, choice, most, notes, end) {
  const enough = (texts) => {
    if (choice.since === null) return texts.length > most && !choice.wanted.errors && !choice.wanted.release && !choice.pattern;
    const first = texts.map(lines.read).find(({ at }) => at !== null);
    return first !== undefined && first.at < choice.since;
  };
  let made = [];
  let ending = end;
  for (const { file, mtime } of [{ file: source.file, mtime: Infinity }, ...tails.older(source.file)]) {
    if (choice.since !== null && mtime < choice.since) break;
    const stat = truth.attempt(() => fs.statSync(file));
    if (!stat) continue;
    const { lines: texts, cut } = tails.back(file, enough, ending);
    if (cut) notes.push(`${path.basename(file)}: only its last 8 MB were looked at`);
    made = [...entries(source, texts, { at: Math.round(stat.mtimeMs), by: 'file' }).filter((entry) => choice.takes(entry)), ...made].slice(-most);
    ending = Infinity;
    if (made.length >= most || cut) break;
  }
  return made;
}

/** Tell what there is so far; `tailed` has each source with its Tail, so that what is added meanwhile is neither lost nor told twice. */
function lookBack(root, wanted, choice, tailed, notes) {
  const most = wanted.lines || MOST;
  const failed = writers.failures(root);
  const ends = deaths([...failed, ...crashes(root, failed, wanted.names)], wanted.names);
  const written = tailed.flatMap(({ source, tail }) => past(source, choice, most, notes, wanted.follow ? tail.at : Infinity));
  const found = [...written, ...ends.filter((entry) => choice.takes(entry) && !isTold(entry, written))];
  const sorted = found.sort((a, b) => a.at - b.at);
  if (!wanted.lines && sorted.length >= MOST) notes.push(`only the last ${MOST} lines are shown; say --lines, or a later --since`);
  tell(root, sorted.slice(-most));
}

/** Say whether PM2's own error log has this line of a death too; the reason alone stands in ours only. */
const isTold = ({ text, at }, written) => written.some((other) => other.kind === 'err' && other.text === text && Math.abs(other.at - at) < SAME_DEATH_MS);

// ---------------------------------------------------------------- following

const placesOf = (tailed) => Object.fromEntries(tailed.map(({ tail }) => [tail.file, tail.place]));

/** Give what was added to the files since the last time. A line without a time was written about now. */
function added(tailed, choice) {
  return tailed.flatMap((each) => {
    const made = entries(each.source, each.tail.fresh(), { at: Date.now(), by: 'seen' });
    return made.filter((entry) => choice.takes(entry));
  });
}

function follow(root, wanted, choice, tailed, sources) {
  const known = new Set(crashes(root, [], wanted.names).map(({ file, at }) => `${file} ${at}`));
  let looked = Date.now();
  setInterval(() => {
    if (Date.now() - looked > LOOK_MS) {
      looked = Date.now();
      choice.learn();
      const files = new Set(tailed.map(({ source }) => source.file));
      for (const source of once([...sources, ...usual(wanted.names)])) if (!files.has(source.file)) tailed.push({ source, tail: new tails.Tail(source.file, null, true) });
    }
    const died = crashes(root, [], wanted.names).filter(({ file, at }) => !known.has(`${file} ${at}`));
    for (const { file, at } of died) known.add(`${file} ${at}`);
    tell(root, deaths(died, wanted.names).filter((entry) => choice.takes(entry)));
    for (let round = 0; round < ROUNDS; round += 1) {
      const before = tailed.map(({ tail }) => tail.at).join();
      tell(root, added(tailed, choice).sort((a, b) => a.at - b.at), placesOf(tailed));
      if (before === tailed.map(({ tail }) => tail.at).join()) break;
    }
  }, TICK_MS);
}

async function main(root, pm2Dir, wanted) {
  const notes = [];
  const choice = new Choice(root, wanted, notes);
  const sources = await listed(pm2Dir, wanted.names, notes);
  const places = wanted.places || {};
  const tailed = once([...sources, ...usual(wanted.names)]).map((source) => ({ source, tail: new tails.Tail(source.file, places[source.file]) }));
  if (!tailed.length) notes.push(`no log file of ${wanted.names.join(', ')} was found; looked in ${logsDir()}`);
  if (!wanted.places) lookBack(root, wanted, choice, tailed, notes);
  if (choice.unknown) notes.push(`${choice.unknown} lines are left out: nobody knows which release wrote them`);
  print('told', { now: Date.now(), notes, places: placesOf(tailed) });
  if (wanted.follow) follow(root, wanted, choice, tailed, sources);
}

// Of a reader that is gone nobody tells a process in a pipe but the next write.
process.stdout.on('error', () => process.exit(0));

const [root, pm2Dir, wanted] = process.argv.slice(2);
main(path.resolve(root), pm2Dir, JSON.parse(wanted)).catch((err) => {
  process.stderr.write(`${err.message}\n`);
  process.exit(1);
});
