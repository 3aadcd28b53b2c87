'use strict';
// The migration of one deploy, once: its outcome is on the disk of this host whatever becomes of us.
//
//   node migrate.cjs start ROOT RUN < plan.json     (journal.cjs has the ways in)
//
// plan: {release, command, env_file}. Final events: `done`, or `broken` with the exit code and the last lines.

const fs = require('fs');
const path = require('path');
const { parseEnv } = require('util');
const { spawn } = require('child_process');
const journal = require('./journal.cjs');
const secrets = require('./secrets.cjs');

/** Give the migration the app's own environment: it needs the same DATABASE_URL. */
function environment(release, envFile) {
  const file = envFile && path.join(release, envFile);
  return { ...process.env, ...(file && fs.existsSync(file) ? parseEnv(fs.readFileSync(file, 'utf8')) : {}) };
}

async function work(root, run, log, plan) {
  const release = path.join(root, 'releases', plan.release);
  const file = log.file('output');
  const out = fs.openSync(file, 'a', 0o600);
  log.write('begin', { release: plan.release, command: plan.command });
  const child = spawn('sh', ['-c', plan.command], { cwd: release, env: environment(release, plan.env_file), stdio: ['ignore', out, out] });
  const [code, signal] = await new Promise((resolve) => {
    child.on('error', (err) => resolve([null, err.message]));
    child.on('exit', (...end) => resolve(end));
  });
  if (code === 0) log.write('done', { release: plan.release });
  else log.write('broken', { why: `${plan.command}: exit code ${code === null ? signal : code}`, lines: secrets.lastLines(file), log: file });
}

journal.ways(__filename, work, { event: 'broken' });
