'use strict';

const fs = require('node:fs');
const http2 = require('node:http2');
const https = require('node:https');
const { boot, keepAliveMs, port } = require('./behaviour.cjs');
const { handle } = require('./routes.cjs');

const options = { key: fs.readFileSync(process.env.TLS_KEY), cert: fs.readFileSync(process.env.TLS_CERT), keepAliveTimeout: keepAliveMs };
const server = process.env.HTTP2 ? http2.createSecureServer({ ...options, allowHTTP1: true }, handle) : https.createServer(options, handle);
boot().then(() => server.listen(port));
