'use strict';

/** A process without HTTP. */

const fs = require('node:fs');
const { boot } = require('./behaviour.cjs');

setInterval(() => {}, 1000);
process.on('SIGTERM', () => setTimeout(() => {
  fs.writeFileSync(process.env.WITNESS, 'job finished');
  process.exit(0);
}, 300));
boot();
