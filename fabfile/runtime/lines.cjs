'use strict';
// What a line of a log tells of itself: when it was written, by which process, and whether it is an error. Pure.

const { stripVTControlCharacters } = require('util');

const SECOND = 1000;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const JSON_MOST = 65536; // characters
const MOST_LOOKED_AT = 300; // of other lines
const ERROR_LEVEL = 50; // of pino and bunyan

// Where a line has no zone it means this host's.
const ISO = /^\W{0,2}(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|[+-]\d\d:?\d\d)?/;
const NEST = /^\[[^\]]{1,40}\] \d+ +- +(\d{1,2})([/.])(\d{1,2})[/.](\d{4}),? (\d{1,2}):(\d\d):(\d\d)(?:[\s\u202f]([AaPp])\.?[Mm])?/;
const ACCESS = /\[(\d\d)\/(\w{3})\/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]/;

const KEYS = ['time', 'timestamp', '@timestamp', 'ts', 'date'];
const LEVEL = /(^|[^\w./-])(ERROR|FATAL|CRITICAL|PANIC|EMERG)($|[^\w./-])/;
const THROWN = /^\W{0,2}(error|fatal)\b|^(Uncaught |Unhandled )?\w*(Error|Exception)( \[\w+\])?:/i;
const TRACE = /^(\s+at |\s*(\[cause\]|Caused by)|Node\.js v\d|\s{2,}\S|[{}\]]+,?$)/;

/** Turn what a zone is called ("", Z, +0100) into minutes east of Greenwich; null is this host's own. */
function minutes(zone) {
  if (!zone) return null;
  if (zone === 'Z') return 0;
  const [, sign, hours, rest] = /([+-])(\d\d):?(\d\d)/.exec(zone);
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(rest));
}

/** Give a moment in ms since 1970 from its parts, or null where there is no such moment. */
function moment(year, month, day, hour, minute, second, ms, zone) {
  const east = minutes(zone);
  const parts = [year, month - 1, day, hour, minute, second, ms].map(Number);
  const at = east === null ? new Date(...parts).getTime() : Date.UTC(...parts) - east * 60 * SECOND;
  const valid = month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60;
  return valid && Number.isFinite(at) ? at : null;
}

function iso(text) {
  const found = ISO.exec(text);
  if (!found) return null;
  const [, year, month, day, hour, minute, second = 0, fraction = '', zone] = found;
  return { at: moment(year, month, day, hour, minute, second, `${fraction}000`.slice(0, 3), zone), fine: fraction.length >= 3 };
}

/** Read Nest's own time, which is written as this host's locale does; with AM or PM the month comes first, else the day. */
function nest(text) {
  const found = NEST.exec(text);
  if (!found) return null;
  const [, first, , second, year, hour, minute, seconds, half] = found;
  const american = Boolean(half) && half === half.toUpperCase();
  const [month, day] = american ? [first, second] : [second, first];
  const late = half ? (Number(hour) % 12) + (/p/i.test(half) ? 12 : 0) : hour;
  return { at: moment(year, month, day, late, minute, seconds, 0, ''), fine: false };
}

function access(text) {
  const found = ACCESS.exec(text);
  if (!found || !MONTHS.includes(found[2])) return null;
  const [, day, month, year, hour, minute, second, zone] = found;
  return { at: moment(year, MONTHS.indexOf(month) + 1, day, hour, minute, second, 0, zone), fine: false };
}

/** Read a line that is a JSON object; null is any other line. */
function json(text) {
  if (!text.startsWith('{') || text.length > JSON_MOST) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Read a time of a JSON log: text, or a number of seconds or milliseconds. */
function valued(record) {
  const value = record && KEYS.map((key) => record[key]).find((each) => ['string', 'number'].includes(typeof each));
  if (typeof value === 'number' && value > 1e9 && value < 1e14) return value < 1e11 ? { at: value * SECOND, fine: true } : { at: value, fine: true };
  return typeof value === 'string' ? iso(value) || (Number(value) > 1e9 ? valued({ time: Number(value) }) : null) : null;
}

const NUMBERS = { fatal: 60, error: 50, critical: 60, emerg: 60, alert: 60, crit: 60 };
const loudness = (level) => (typeof level === 'number' ? level : NUMBERS[String(level).toLowerCase()] || 0);

/**
 * Tell what a line says of itself: `at` (ms; null where it says nothing) and whether that is `fine` (ms, not seconds), the `pid` that it
 * names, whether it is an `error`, and whether it reads like the `rest` of the line before.
 */
function read(line) {
  const text = stripVTControlCharacters(line);
  const record = json(text);
  const time = (record ? valued(record) : iso(text) || nest(text) || access(text.slice(0, MOST_LOOKED_AT))) || { at: null, fine: false };
  const pid = record ? record.pid : (/^\[[^\]]{1,40}\] (\d+) +- /.exec(text) || [])[1];
  const error = record ? loudness(record.level ?? record.severity) >= ERROR_LEVEL : [LEVEL, THROWN].some((look) => look.test(text.slice(0, MOST_LOOKED_AT)));
  return { ...time, pid: Number(pid) || null, error, rest: !record && TRACE.test(text) };
}

module.exports = { read };
