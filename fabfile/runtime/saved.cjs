'use strict';
// What PM2 starts after a reboot: its saved list, written our way.

const fs = require('fs');
const path = require('path');
const truth = require('./truth.cjs');

/** Replace a file in one step; what a full disk left of the new one goes. */
function replaceFile(file, text) {
  try {
    fs.writeFileSync(`${file}.next`, text, { mode: 0o600 });
    fs.renameSync(`${file}.next`, file);
  } catch (err) {
    truth.attempt(() => fs.unlinkSync(`${file}.next`));
    throw err;
  }
}

/**
 * Save PM2's list as `pm2 save` does, but by rename and readable by nobody else: it holds environments. PM2's own way deletes
 * the list when the disk is full, and never answers.
 */
async function saveList(pm2) {
  const file = path.join(truth.daemon().home, 'dump.pm2');
  const all = await truth.rpc(pm2, 'getMonitorData', {});
  const envs = all.map((item) => item.pm2_env).filter((env) => !env.pmx_module);
  const kept = envs.map(({ instances: _, pm_id: __, prev_restart_delay: ___, ...env }) => env);
  truth.attempt(() => replaceFile(`${file}.bak`, fs.readFileSync(file)));
  if (kept.length) replaceFile(file, JSON.stringify(kept, null, 2));
}

module.exports = { replaceFile, saveList };
