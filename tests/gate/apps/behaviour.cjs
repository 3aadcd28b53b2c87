'use strict';

/** What a release does; the tests choose by the variable MODE of its marker. */

const mode = process.env.MODE ?? 'good';
const started = Date.now();

exports.mode = mode;
exports.port = Number(process.env.PORT);
exports.keepAliveMs = Number(process.env.KEEP_ALIVE_MS ?? 5000);
exports.slow = () => new Promise((resolve) => setTimeout(resolve, Number(process.env.SLOW_MS ?? 3000)));
exports.about = () => ({ release: process.env.GAPLESS_RELEASE, pid: process.pid, main: require.main?.filename ?? null, argv1: process.argv[1] });

exports.health = () => {
  const flapping = mode === 'flaps' && Date.now() - started > 400 && Date.now() - started < 900;
  if (mode === 'health-500' || flapping) return [500, { status: 'database is away' }];
  if (mode === 'wrong-release') return [200, { release: '9999-deadbee' }];
  if (mode === 'short-commit') return [200, { release: process.env.GAPLESS_COMMIT.slice(0, 9) }];
  return [200, { status: 'ok', release: process.env.GAPLESS_RELEASE }];
};

/** Do what goes wrong before the app listens. */
exports.boot = async () => {
  if (mode === 'early-ready') process.send('ready');
  if (mode === 'throws') throw new Error('JWT_SECRET is not set');
  if (mode === 'dies-in-hold') setTimeout(() => { throw new Error('the queue went away'); }, 400);
  if (mode === 'never') await new Promise(() => {});
  if (mode === 'exits') {
    try {
      throw new Error('no database');
    } catch (error) {
      console.log('connecting to the database');
      console.error(`cannot start: ${error.message}`);
      process.exit(3);
    }
  }
};
