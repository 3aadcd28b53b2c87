'use strict';
// Lines as they may leave this host: without the app's secrets, and of a bearable length.

const secrets = require('./secrets.cjs');
const { LONGEST } = require('./tails.cjs');

/** Hide what is secret in lines, then cut them to `width` characters: half a secret would not be known for one. */
function passed(root, texts, width) {
  const hidden = secrets.passable(root, texts.join('\n')).split('\n');
  // A secret of several lines takes their ends along; then each is looked at alone, for all but the shortest of its lines are known too.
  const whole = hidden.length === texts.length ? hidden : texts.map((text) => secrets.passable(root, text).replaceAll('\n', ' '));
  return whole.map((text, turn) => fitting(text, texts[turn].length >= LONGEST, width));
}

function fitting(text, long, width) {
  // Of a line that was cut before, the end may be half a secret: it must lie far beyond what is passed on.
  if (long && text.length < 2 * width) return `[a line of more than ${LONGEST} bytes is not shown]`;
  return text.length > width ? `${text.slice(0, width)} [cut: ${text.length} characters]` : text;
}

module.exports = { passed };
