'use strict';
// Hide values in text: [hidden NAME] stands where one of them stood. Pure; secrets.cjs knows the values.

const util = require('util');

const SHORT = 6; // characters: shorter values stand in every other line, and hiding them hides the line
const WORD = 20; // letters and digits in a row; more of them are a token, whatever is around them
const BYTE = 8 / 6; // characters of base64
const NAMED = /(SECRET|PASS|PASSWD|PASSWORD|PASSPHRASE|PWD|TOKEN|KEY|SALT|CREDENTIALS?|PIN)(_?\d+|_BASE|_OLD|_NEW)?$/i;
const PLAIN = [
  /^[+-]?\d+([.,]\d+)*$/, // a number
  /^[a-z]+$/, // a word: production
  /^[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?$|^[a-z][a-z0-9-]*:\d+$/, // a host
  /^(~|\.{1,2})?(\/[\w.@-]*)+$/, // a path
  /^https?:\/\/[\w.:[\]-]+(\/[\w.~%-]*)*$/, // an address without a user or a query
];
const USERINFO = [/^[a-z][\w+.-]*:\/\/([^/?#]*)@/i, /^[a-z][\w+.-]*:\/\/(.*)@/is]; // as it should be, and as people write it

const attempt = (fn) => {
  try {
    return [fn()];
  } catch {
    return [];
  }
};

const isLong = (text) => text.length >= SHORT;

/** Say whether a value is plainly no secret: it looks like none, and its name does not call it one. */
function isPlain(name, value) {
  if (NAMED.test(name) || !PLAIN.some((look) => look.test(value))) return false;
  return value.split(/[^A-Za-z0-9]+/).every((word) => word.length <= WORD);
}

/** Give what logs in by a URL: the password; where there is none, a user that may be a token. */
function credentials(name, value) {
  const logins = USERINFO.map((look) => look.exec(value)).filter(Boolean).map(([, login]) => /^([^:]*)(?::(.*))?$/s.exec(login));
  const written = logins.map(([, user, password]) => password || (isPlain(name, user) ? '' : user));
  const normal = attempt(() => new URL(value)).filter((url) => url.password).flatMap((url) => [url.password, url.href]);
  return [...written, ...written.flatMap((text) => attempt(() => decodeURIComponent(text))), ...normal];
}

/** Give the texts to look for because of one value. The lines of a long key are often printed one by one. */
function texts(name, value) {
  const whole = value.trim();
  const lines = whole.includes('\n') ? whole.split('\n').map((line) => line.trim()) : [];
  return [...(isPlain(name, whole) ? [] : [whole]), ...lines, ...credentials(name, whole)].filter(isLong);
}

/** Give what base64 makes of a text wherever it begins in what is encoded: three bytes are four characters. */
function base64(text) {
  const inner = [0, 1, 2].map((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(text)]);
    return bytes.toString('base64').slice(Math.ceil(before * BYTE), Math.floor(bytes.length * BYTE));
  });
  return [Buffer.from(text).toString('base64'), ...inner];
}

const strict = (uri) => uri.replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
const lower = (text) => text.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
const html = (text) => text.replace(/[&<>"']/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[sign]);

/** Give all the ways in which a text may be printed: as it is, and as JSON, node, a page, a URL or base64 write it. */
function forms(text) {
  const inspected = util.inspect(text, { breakLength: Infinity, maxStringLength: null }).slice(1, -1);
  const uri = encodeURIComponent(text.toWellFormed());
  const encoded = [uri, strict(uri), new URLSearchParams([['', text]]).toString().slice(1)];
  const alike = base64(text).flatMap((form) => [form, form.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')]);
  return new Set([text, JSON.stringify(text).slice(1, -1), inspected, html(text), ...encoded, ...encoded.map(lower), ...alike]);
}

/** Find every place of a form in a text. */
function* places(text, form, name) {
  for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + 1)) yield { at, end: at + form.length, name };
}

/** Join places that overlap, or what one leaves of another would be shown. The first and longest gives its name. */
function joined(found) {
  const whole = [];
  for (const place of found.sort((a, b) => a.at - b.at || b.end - a.end)) {
    const last = whole.at(-1);
    if (last && place.at < last.end) last.end = Math.max(last.end, place.end);
    else whole.push(place);
  }
  return whole;
}

/** Hide `values`, a list of [name, value], in a text. */
function hide(text, values) {
  const sought = values.flatMap(([name, value]) => texts(name, value).flatMap((each) => [...forms(each)].map((form) => [form, name])));
  const found = joined(sought.flatMap(([form, name]) => [...places(text, form, name)]));
  const shown = found.map(({ at, name }, turn) => `${text.slice(turn ? found[turn - 1].end : 0, at)}[hidden ${name}]`);
  return shown.join('') + text.slice(found.length ? found.at(-1).end : 0);
}

module.exports = { hide };
