'use strict';

/**
 * Do what the tests ask of PM2, through PM2's own module: one JSON line in, one JSON line out, several at once.
 *
 *   node pm2ctl.cjs PATH_OF_PM2_MODULE      (PM2_HOME says which daemon; it is started if none runs)
 */

const readline = require('node:readline');
const { promisify } = require('node:util');

console.log = console.error; // PM2 prints; stdout is ours
const pm2 = require(process.argv[2]);
const remote = promisify(pm2.Client.executeRemote.bind(pm2.Client));

const brief = ({ pid, pm_id, name, pm2_env: env }) => ({ pid, pm_id, name, status: env.status, restarts: env.restart_time });

const orders = {
  start: (options) => promisify(pm2.start.bind(pm2))(options).then(() => true),
  // The number matters: with a string PM2 never sees the worker's "ready".
  reload: ({ id }) => remote('reloadProcessId', { id: Number(id), env: {} }).then(() => true),
  stop: ({ name }) => promisify(pm2.stop.bind(pm2))(name).then(() => true),
  delete: ({ name }) => promisify(pm2.delete.bind(pm2))(name).then(() => true),
  list: async () => (await promisify(pm2.list.bind(pm2))()).map(brief),
};

function answer(reply) {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

pm2.connect((error) => {
  if (error) throw error;
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const { key, order, ...options } = JSON.parse(line);
    try {
      answer({ key, result: await orders[order](options) });
    } catch (failure) {
      answer({ key, error: failure.message ?? failure.msg ?? String(failure) });
    }
  }).on('close', () => process.exit(0));
});
