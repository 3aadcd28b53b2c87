'use strict';
// Run scripts without a file on the host: stdin has {program, scripts: {name: text}}; they may require one another.
//
//   node -e LOADER ARGUMENT...          the program's process.argv is as if it had been started from a file

const fs = require('fs');
const path = require('path');
const vm = require('vm');

const { program, scripts } = JSON.parse(fs.readFileSync(0, 'utf8'));
const modules = {};
process.argv.splice(1, 0, program);

function load(name) {
  if (!modules[name]) {
    const module = (modules[name] = { exports: {} });
    const wanted = (other) => (other.startsWith('./') ? load(path.basename(other)) : require(other));
    wanted.main = modules[program];
    vm.compileFunction(scripts[name], ['module', 'exports', 'require', '__filename'], { filename: name })(module, module.exports, wanted, name);
  }
  return modules[name].exports;
}

load(program);
