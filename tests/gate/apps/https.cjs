'use strict';

const fs = require('node:fs');
const https = require('node:https');
const { boot, keepAliveMs, port } = require('./behaviour.cjs');
const { handle } = require('./routes.cjs');

const options = { key: fs.readFileSync(process.env.TLS_KEY), cert: fs.readFileSync(process.env.TLS_CERT), keepAliveTimeout: keepAliveMs };
boot().then(() => https.createServer(options, handle).listen(port));
