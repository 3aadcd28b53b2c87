'use strict';
// A piece of work that must not be torn in half: run in a session of its own, journalled, followed from outside.
//
//   node SCRIPT start ROOT RUN < plan.json     start it detached, then follow it
//   node SCRIPT follow ROOT RUN                follow one that is under way, or was
//
// The journal lies in .gapless/runs/RUN/SCRIPT.jsonl; its last event is one of FINAL.

const fs = require('fs');
const path = require('path');
const { spawn } = require('child_process');
const secrets = require('./secrets.cjs');
const truth = require('./truth.cjs');

const FINAL = new Set(['done', 'reverted', 'broken']);
const ROOM = 65536; // bytes that a journal may come to need
const WORDS = ['why', 'back', 'text', 'lines']; // of an event: here may stand what the app, PM2 or a migration printed
const WIDTH = 500; // characters of a line that are passed on

const print = (line) => process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${line}\n`);

/** Give an event as it may be passed on. Hidden first and then cut: half a secret would not be known for one. */
function passable(root, fields) {
  const lines = (text) => secrets.passable(root, text).split('\n').map((line) => line.slice(0, WIDTH));
  const passed = (words) => (Array.isArray(words) ? lines(words.join('\n')) : lines(words).join('\n'));
  const spoken = Object.entries(fields).filter(([key, words]) => WORDS.includes(key) && words?.length);
  return { ...fields, ...Object.fromEntries(spoken.map(([key, words]) => [key, passed(words)])) };
}

class Journal {
  constructor(script, root, run) {
    this.root = root;
    this.name = path.basename(script, '.cjs');
    this.dir = path.join(root, '.gapless', 'runs', run);
  }

  file(kind) {
    return path.join(this.dir, `${this.name}.${kind}`);
  }

  /** Append one event and sync it. A full disk must not stop the way back, so failing to tell is no failure. */
  write(event, fields = {}) {
    truth.attempt(() => {
      const fd = fs.openSync(this.file('jsonl'), 'a', 0o600);
      try {
        const line = Buffer.from(`${this.torn ? '\n' : ''}${JSON.stringify({ event, at: Date.now(), ...passable(this.root, fields) })}\n`);
        this.torn = fs.writeSync(fd, line) < line.length; // a disk that fills up takes the beginning of a line
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    });
  }

  lines() {
    const text = truth.attempt(() => fs.readFileSync(this.file('jsonl'), 'utf8'), '');
    return text.split('\n').slice(0, -1).filter((line) => truth.attempt(() => JSON.parse(line)));
  }
}

/** Write what the work is to do; return the log that it prints to. All that a full disk can stop comes before the start. */
function prepare(journal) {
  fs.mkdirSync(journal.dir, { recursive: true, mode: 0o700 });
  fs.writeFileSync(journal.file('plan'), fs.readFileSync(0), { mode: 0o600 });
  try {
    fs.writeFileSync(journal.file('room'), Buffer.alloc(ROOM)); // what can't tell how it went must not begin
  } finally {
    truth.attempt(() => fs.unlinkSync(journal.file('room')));
  }
  return fs.openSync(journal.file('log'), 'a', 0o600);
}

/** Start the work in a session of its own: a link that dies takes this process along, not that one. */
function detach(journal, log, script, root, run) {
  const child = spawn(process.execPath, [script, 'work', root, run], { cwd: root, detached: true, stdio: ['ignore', log, log] });
  truth.attempt(() => tellPid(journal, child.pid)); // it tells its own, too
  child.unref();
}

const tellPid = (journal, pid) => fs.writeFileSync(journal.file('pid'), `${pid} ${truth.startOf(pid)}`);

/** Print the journal as it grows until its final event; until the worker is gone, or stands still, without one. */
function follow(journal) {
  const { progress_ms: patience = Infinity } = truth.readJson(journal.file('plan')) || {};
  let printed = 0;
  let moved = Date.now();
  const advance = () => {
    for (const line of journal.lines().slice(printed)) {
      printed += 1;
      moved = Date.now();
      print(line);
      if (FINAL.has(JSON.parse(line).event)) process.exit(0);
    }
  };
  const giveUp = (why) => {
    print(JSON.stringify({ event: 'lost', why }));
    process.exit(0);
  };
  truth.attempt(() => fs.watch(journal.dir, advance)); // where inotify is used up, the interval alone must do
  setInterval(() => {
    const gone = !truth.isAtWork(journal.file('pid'));
    advance(); // once more after it was seen gone: its last words may have come in between
    if (gone) giveUp('it is gone without a final word');
    if (Date.now() - moved > patience) giveUp(`it has not moved for ${patience / 1000} s (progress_deadline)`);
  }, 1000);
  advance();
}

/** Say that the work could not even be started, in the words of its own final event; nothing was touched. */
function refuse(journal, root, unstarted, err) {
  const why = `the ${journal.name} could not be started: ${err.message}`;
  print(JSON.stringify({ ...unstarted, why, lines: [], release: truth.current(root).release }));
}

/** Serve the ways in for `script`; `work(root, run, journal, plan)` is what it does, `unstarted` its final event if it can't begin. */
function ways(script, work, unstarted) {
  const [verb, root, run] = process.argv.slice(2);
  const journal = new Journal(script, root, run);
  if (verb === 'work') {
    truth.attempt(() => tellPid(journal, process.pid)); // its starter may have died before it could
    // What throws beside the work (a callback inside PM2's module) must not end it half done: each of its waits has a limit.
    for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (err) => journal.write('note', { text: String(err) }));
    const plan = truth.readJson(journal.file('plan'));
    work(root, run, journal, plan)
      .catch((err) => journal.write('broken', { why: err.message }))
      .finally(() => process.exit(0));
    return;
  }
  if (verb === 'start') {
    let log;
    try {
      log = prepare(journal);
    } catch (err) {
      refuse(journal, root, unstarted, err);
      return;
    }
    detach(journal, log, script, root, run);
  }
  follow(journal);
}

module.exports = { ways };
