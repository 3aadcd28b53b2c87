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
const truth = require('./truth.cjs');

const FINAL = new Set(['done', 'reverted', 'broken']);

const print = (line) => process.stdout.write(`${process.env.GAPLESS_MARK || ''} ${line}\n`);

class Journal {
  constructor(script, root, run) {
    this.name = path.basename(script, '.cjs');
    this.dir = path.join(root, '.gapless', 'runs', run);
    fs.mkdirSync(this.dir, { recursive: true, mode: 0o700 });
  }

  file(kind) {
    return path.join(this.dir, `${this.name}.${kind}`);
  }

  /** Append one event and sync it: what is not on the disk did not happen. */
  write(event, fields = {}) {
    const fd = fs.openSync(this.file('jsonl'), 'a', 0o600);
    fs.writeSync(fd, `${JSON.stringify({ event, at: Date.now(), ...fields })}\n`);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
  }

  lines() {
    return truth.attempt(() => fs.readFileSync(this.file('jsonl'), 'utf8'), '').split('\n').slice(0, -1);
  }
}

/** Start the work in a session of its own: a link that dies takes this process along, not that one. */
function detach(journal, script, root, run) {
  fs.writeFileSync(journal.file('plan'), fs.readFileSync(0), { mode: 0o600 });
  const log = fs.openSync(journal.file('log'), 'a', 0o600);
  const child = spawn(process.execPath, [script, 'work', root, run], { cwd: root, detached: true, stdio: ['ignore', log, log] });
  fs.writeFileSync(journal.file('pid'), String(child.pid));
  child.unref();
}

/** Print the journal as it grows until its final event, or until the worker is gone without one. */
function follow(journal) {
  const pid = Number(truth.attempt(() => fs.readFileSync(journal.file('pid'), 'utf8'), '0'));
  let printed = 0;
  const advance = () => {
    for (const line of journal.lines().slice(printed)) {
      printed += 1;
      print(line);
      if (FINAL.has(JSON.parse(line).event)) process.exit(0);
    }
  };
  fs.watch(journal.dir, advance);
  setInterval(() => {
    const gone = !truth.alive(pid);
    advance(); // once more after it was seen gone: its last words may have come in between
    if (gone) {
      print(JSON.stringify({ event: 'lost', pid }));
      process.exit(0);
    }
  }, 1000);
  advance();
}

/** Serve the ways in for `script`; `work(root, run, journal, plan)` is what it does. */
function ways(script, work) {
  const [verb, root, run] = process.argv.slice(2);
  const journal = new Journal(script, root, run);
  if (verb === 'work') {
    const plan = truth.readJson(journal.file('plan'));
    work(root, run, journal, plan).finally(() => process.exit(0));
    return;
  }
  if (verb === 'start') detach(journal, script, root, run);
  follow(journal);
}

module.exports = { ways };
