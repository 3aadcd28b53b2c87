'use strict';
// Which release wrote a line: by the process that the line names, else by the time, from the journals of this host's reloads.

const fs = require('fs');
const path = require('path');
const { attempt, readJson, workers } = require('./truth.cjs');

const KILL_MS = 30000; // where a run's plan doesn't say how long a stopping worker may take

/** Read the journals of all reloads on this host, the first first: when it began, its way, its end. */
function runs(root) {
  const dir = path.join(root, '.gapless', 'runs');
  return attempt(() => fs.readdirSync(dir), [])
    .map((run) => ({ run, events: journal(path.join(dir, run, 'driver.jsonl')), plan: readJson(path.join(dir, run, 'driver.plan')) || {} }))
    .filter(({ events }) => events.length)
    .sort((a, b) => a.events[0].at - b.events[0].at);
}

function journal(file) {
  const text = attempt(() => fs.readFileSync(file, 'utf8'), '');
  return text.split('\n').map((line) => attempt(() => JSON.parse(line))).filter(Boolean);
}

/** Say when the last reload began on this host, in ms; null where there was none. */
const lastDeploy = (root) => runs(root).at(-1)?.events[0].at ?? null;

/** Give the ends of workers that reloads saw: at, why, and the last lines. */
function failures(root) {
  return runs(root).flatMap(({ events }) => {
    const { to } = events.find(({ event }) => event === 'begin') || {};
    return events.filter(({ event }) => event === 'failed').map(({ at, why, lines }) => ({ at, text: [why, ...(lines || [])], release: to }));
  });
}

/** Know who wrote what: one span for each worker that a reload started, from its boot on. */
class Writers {
  constructor(root) {
    this.spans = [];
    for (const { events, plan } of runs(root)) {
      for (const { event, id, pid, release, state, at } of events) if (event === 'worker') this.note({ id, pid, release, state, at, kill: plan.kill_timeout_ms || KILL_MS });
    }
    for (const { pm_id: id, pid, release, since } of workers(root)) this.note({ id, pid, release, state: 'open', at: since, kill: KILL_MS });
    this.spans.sort((a, b) => a.from - b.from);
  }

  note({ id, pid, release, state, at, kill }) {
    let span = this.spans.findLast((each) => each.pid === pid && each.id === id && each.release === release);
    if (!span) this.spans.push((span = { id, pid, release, from: at, open: Infinity, kill }));
    if (state === 'open') span.open = Math.min(span.open, at);
  }

  /** Give the releases that may have written a line: one, or two while an old worker finishes; none where nobody knows. */
  of({ id, at, pid, until = at }) {
    const named = pid && this.spans.findLast((span) => span.pid === pid && span.from <= until + 1000);
    if (named) return [named.release];
    const mine = this.spans.filter((span) => (id === null || span.id === id) && span.from <= until);
    if (id === null) return [...new Set(mine.map(({ release }) => release))];
    const last = mine.at(-1);
    if (!last) return [];
    const before = mine.at(-2);
    return before && at <= last.open + before.kill ? [...new Set([before.release, last.release])] : [last.release];
  }
}

/** Say whether a release is the one that was asked for, by its id or the beginning of its commit. */
const isCalled = (release, wanted) => release === wanted || (wanted.length >= 7 && (release.split('-')[1] || '').startsWith(wanted.slice(0, 7)));

module.exports = { Writers, failures, isCalled, lastDeploy };
