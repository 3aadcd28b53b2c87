'use strict';
// The dependencies of a release: what `npm ci` installed once is kept, and given again to each release that would get the same.
//
//   node deps.cjs ROOT COMMAND          run `npm ci` or `npm prune` in this directory, or do what it did before
//   node deps.cjs ROOT --spare          begin with the copy that the release after the one in this directory gets by a rename
//   node deps.cjs ROOT --copy KEY       make that copy
//
// A kept tree: <root>/.gapless/deps/<key>/ with node_modules, beside/ (what install scripts wrote elsewhere in the release),
// kept.json (what is in both), spare/ (one more copy), pruned-<key>.json (what `npm prune` takes away). Its time is its last use.
// Nothing in it is ever shared with a release by a hard link: whoever writes into node_modules in place writes into its own.

const { spawn, spawnSync } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');

const MOST_TREES = 3;
const TORN_MS = 3600e3;
const MODULES = 'node_modules';
const TICKET = path.join(MODULES, '.gapless-tree.json'); // which tree a release got; npm looks at no name with a dot
const LOCKS = ['npm-shrinkwrap.json', 'package-lock.json'];
// What npm runs of the app's own after it has installed, in its order; `npm run x` runs prex and postx too.
const OWN_SCRIPTS = ['dependencies', 'install', 'prepublish', 'prepare'];
// What a session brings along and no install script goes by: it differs from login to login, or from deployer to deployer.
const OF_THE_SESSION = /^(SSH_|XDG_|DBUS_|GAPLESS|LC_|LANG|TERM$|PWD$|OLDPWD$|SHLVL$|_$|KRB5CCNAME$|PATH$|COLUMNS$|LINES$)/;

const say = (text) => fs.writeSync(1, `gapless: ${text}\n`);
const digest = (value) => crypto.createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
const clear = (place) => fs.rmSync(place, { recursive: true, force: true });
const isLink = (place) => fs.lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink();

/** Return fn's value, or undefined where it throws. */
function attempt(fn) {
  try {
    return fn();
  } catch {
    return undefined;
  }
}

const read = (file) => attempt(() => fs.readFileSync(file, 'utf8')) ?? null;
const readJson = (file) => attempt(() => JSON.parse(fs.readFileSync(file, 'utf8')));

/** Write a file so that nobody ever sees half of it. */
function write(file, value) {
  fs.writeFileSync(`${file}.new.${process.pid}`, JSON.stringify(value));
  fs.renameSync(`${file}.new.${process.pid}`, file);
}

/** Run a command of the user's as the build does; return its exit code as a shell would. */
function run(command) {
  const { status, signal } = spawnSync('sh', ['-c', command], { stdio: 'inherit' });
  return status ?? 128 + (os.constants.signals[signal] ?? 0);
}

/** List what is in a directory, without following links: each name with what tells a whole file from a broken one. */
function contents(top, skip = () => false) {
  const found = {};
  const walk = (inside) => {
    for (const entry of fs.readdirSync(path.join(top, inside), { withFileTypes: true })) {
      const name = path.join(inside, entry.name);
      if (skip(name)) continue;
      if (entry.isDirectory()) walk(name);
      found[name] = described(path.join(top, name), entry);
    }
  };
  walk('');
  return found;
}

/** Describe an entry by what a good copy keeps; whole seconds, since not every file system keeps more. */
function described(file, entry) {
  if (entry.isDirectory()) return 'directory';
  if (entry.isSymbolicLink()) return `-> ${fs.readlinkSync(file)}`;
  const { size, mode, mtimeMs } = fs.lstatSync(file);
  return `${size} ${mode & 0o111 ? 'x' : '-'} ${Math.floor(mtimeMs / 1000)}`;
}

const differing = (one, other) => Object.keys(one).filter((name) => one[name] !== other[name]);
const same = (one, other) => !differing(one, other).length && !differing(other, one).length;
const modules = (place) => contents(place, (name) => name === path.basename(TICKET));
const beside = () => contents('.', (name) => name === MODULES || name === '.git');

/** Copy a directory, in no time where the file system can share blocks until they are written. */
function copy(from, to) {
  if (spawnSync('cp', ['-a', '--reflink=auto', from, to], { stdio: 'ignore' }).status === 0) return;
  clear(to); // a second copy would land inside the first one's ruins
  const { status, stderr } = spawnSync('cp', ['-Rp', from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error((stderr || 'cp failed').trim().split('\n')[0]);
}

/** Count the bytes in a list of contents, roughly: a file takes whole blocks. */
function bytesOf(list) {
  return Object.values(list).reduce((sum, each) => sum + Math.ceil((parseInt(each, 10) || 1) / 4096) * 4096, 0);
}

function freeBytes(place) {
  const { bavail, bsize } = fs.statfsSync(place);
  return bavail * bsize;
}

// ------------------------------------------------------------------ what decides a tree

/** Find npm's own directory and version from the command, since asking npm takes longer than all the rest. */
function npm() {
  const found = process.env.PATH.split(':').map((dir) => attempt(() => fs.realpathSync(path.join(dir, 'npm')))).find(Boolean);
  const home = found && path.dirname(path.dirname(found));
  const about = home && readJson(path.join(home, 'package.json'));
  if (about?.name === 'npm') return { home, version: about.version };
  return { home: '', version: spawnSync('npm', ['--version'], { encoding: 'utf8' }).stdout };
}

/** Read all that npm goes by, whoever set it: the app, the user, the machine, npm's own builder, the environment. */
function settings() {
  const env = Object.entries(process.env).filter(([name]) => !OF_THE_SESSION.test(name)).sort();
  const named = Object.fromEntries(env.map(([name, value]) => [name.toLowerCase(), value]));
  const { home, version } = npm();
  const prefix = named.npm_config_prefix || named.prefix || path.dirname(path.dirname(process.execPath));
  const files = [
    '.npmrc',
    named.npm_config_userconfig || path.join(os.homedir(), '.npmrc'),
    named.npm_config_globalconfig || path.join(prefix, 'etc/npmrc'),
    path.join(home, 'npmrc'),
  ];
  return { version, env, files: files.map(read) };
}

/** Read what install scripts of packages read of the app: Prisma's generates a client from the app's schema. */
function readByInstallers() {
  const names = Object.keys(beside()).filter((name) => /\.prisma$|^prisma\.config\.|^\.config\/prisma\.|^\.puppeteerrc/.test(name)).sort();
  return names.map((name) => [name, read(name)]);
}

/** Read a lockfile without the app's own version: a release that changed nothing else gets the same packages. */
function lock(file) {
  const { version: _, ...known } = readJson(file) ?? {};
  if (known.packages?.['']) delete known.packages[''].version;
  return known;
}

/** Read what says which packages are wanted. */
function wanted() {
  const { version: _, scripts: __, description: ___, ...own } = readJson('package.json') ?? {};
  return [own, LOCKS.map(lock), settings()];
}

/** Name the tree that this command makes of this release on this host. */
function keyOf(command) {
  const machine = [process.version, process.platform, process.arch, read('/etc/os-release')];
  return digest([1, command, machine, wanted(), readByInstallers()]);
}

/** Say why nothing but these decides what the command does, as far as we know; undefined where they do. */
function unkeepable(command) {
  const about = readJson('package.json');
  if (!about) return 'there is no package.json that could be read';
  const locked = LOCKS.map(readJson).find(Boolean);
  if (!locked) return 'there is no package-lock.json that could be read';
  if (about.workspaces) return 'workspaces have node_modules of their own';
  const links = Object.entries(locked.packages ?? {}).filter(([, each]) => each.link).map(([name]) => name);
  if (links.length) return `${links[0]} is a link to files of the release`;
  if (!locked.packages) return 'the lockfile is of npm 6 or older and does not say which packages are links';
  if (fs.existsSync('binding.gyp')) return 'npm builds the binding.gyp of the app';
  if (isLink(MODULES)) return 'node_modules is a link';
  const quiet = `${command} ${JSON.stringify(settings())}`;
  if (ownScripts().length && /ignore[-_]scripts/i.test(quiet)) return 'the app has install scripts, and a setting may keep npm from running them';
  return undefined;
}

/** List what to run of the app's own scripts after an install, one `npm run` each. */
function ownScripts() {
  const scripts = readJson('package.json')?.scripts ?? {};
  return OWN_SCRIPTS.flatMap((name) => (scripts[name] ? [name] : [`pre${name}`, `post${name}`].filter((each) => scripts[each])));
}

// ------------------------------------------------------------------ npm ci

/** Run `npm ci`, or give the release what it installed before; then run the app's own install scripts, each time. */
function install(root, command) {
  const why = unkeepable(command);
  if (why) {
    say(`dependencies are installed anew each time: ${why}`);
    return run(command);
  }
  const key = keyOf(command);
  const tree = path.join(root, '.gapless/deps', key);
  if (!reuse(tree)) {
    const code = installAndKeep(root, tree, command);
    if (code) return code;
  }
  if (fs.existsSync(tree)) fs.writeFileSync(TICKET, JSON.stringify({ key, wanted: digest(wanted()) }));
  return ownScripts().reduce((code, name) => code || run(`npm run ${name}`), 0);
}

/** Put a kept tree into the release, the spare copy first; say whether it is there and whole. */
function reuse(tree) {
  const kept = readJson(path.join(tree, 'kept.json'));
  if (!kept) {
    remove(tree);
    return false;
  }
  clear(MODULES);
  for (const take of [() => fs.renameSync(path.join(tree, 'spare'), MODULES), () => copy(path.join(tree, MODULES), MODULES)]) {
    if (!attempt(() => (take(), true))) continue;
    if (same(modules(MODULES), kept.modules) && attempt(() => putBeside(tree, kept.beside))) {
      attempt(() => fs.utimesSync(tree, new Date(), new Date()));
      say(`dependencies reused: ${path.basename(tree)}`);
      return true;
    }
    clear(MODULES);
  }
  say(`dependencies ${path.basename(tree)} are not whole any more, or could not be copied; they are installed anew`);
  remove(tree);
  return false;
}

/** Put back what install scripts wrote beside node_modules. */
function putBeside(tree, names) {
  for (const name of names) {
    fs.mkdirSync(path.dirname(name), { recursive: true });
    clear(name);
    copy(path.join(tree, 'beside', name), name);
  }
  return true;
}

/** Install without the app's own scripts, which may read anything and come later, and keep what that gave. */
function installAndKeep(root, tree, command) {
  const before = beside();
  const code = withoutOwnScripts(() => run(command));
  if (code === 0 && fs.existsSync(MODULES)) {
    try {
      keep(root, tree, before, beside());
    } catch (err) {
      say(`dependencies were not kept: ${err.message}`);
    }
  }
  return code;
}

/** Hide the app's own scripts from npm meanwhile. A release in which we die here is thrown away. */
function withoutOwnScripts(work) {
  if (!ownScripts().length) return work();
  const about = readJson('package.json');
  fs.renameSync('package.json', '.package.json.whole');
  try {
    fs.writeFileSync('package.json', JSON.stringify({ ...about, scripts: {} }, null, 2));
    return work();
  } finally {
    fs.renameSync('.package.json.whole', 'package.json');
  }
}

/** Copy what was installed aside, and make it a tree by one rename. */
function keep(root, tree, before, after) {
  const home = path.dirname(tree);
  fs.mkdirSync(home, { recursive: true });
  const kept = { modules: modules(MODULES), beside: differing(after, before).filter((name) => after[name] !== 'directory') };
  if (differing(before, after).some((name) => !(name in after))) throw new Error('npm ci removed files of the release');
  const size = bytesOf(kept.modules);
  sweep(home, MOST_TREES - 1);
  if (freeBytes(home) < 2 * size) sweep(home, 0);
  if (freeBytes(home) < 2 * size) throw new Error(`${root} has ${mb(freeBytes(home))} MB left, and they take ${mb(size)} MB`);
  const aside = `${tree}.new.${process.pid}`;
  try {
    fs.mkdirSync(aside);
    copy(MODULES, path.join(aside, MODULES));
    for (const name of kept.beside) {
      fs.mkdirSync(path.dirname(path.join(aside, 'beside', name)), { recursive: true });
      copy(name, path.join(aside, 'beside', name));
    }
    write(path.join(aside, 'kept.json'), kept);
    attempt(() => fs.renameSync(aside, tree)); // another build may have been quicker; both are the same
  } finally {
    clear(aside);
  }
}

const mb = (bytes) => Math.round(bytes / 1024 / 1024);

// ------------------------------------------------------------------ what goes

/** Remove a tree so that nobody finds half of it. */
function remove(tree) {
  const gone = `${tree}.new.${process.pid}`;
  attempt(() => fs.renameSync(tree, gone));
  attempt(() => clear(gone)); // somebody may be copying in it
}

/** Remove what died half-way, and all trees but so many that were used last, to make room for one. */
function sweep(home, spared) {
  sweepTorn(home);
  const trees = fs.readdirSync(home).filter((name) => !name.includes('.new.')).map((name) => path.join(home, name));
  const used = new Map(trees.map((tree) => [tree, attempt(() => fs.statSync(tree).mtimeMs) ?? 0]));
  for (const tree of trees.sort((one, other) => used.get(other) - used.get(one)).slice(spared)) remove(tree);
}

/** Remove what somebody who is dead left half made or half removed; an old one's number may be somebody else's by now. */
function sweepTorn(home) {
  const torn = fs.readdirSync(home).filter((name) => name.includes('.new.')).map((name) => path.join(home, name));
  const left = torn.filter((name) => !isAlive(Number(name.split('.').pop())) || Date.now() - fs.lstatSync(name).mtimeMs > TORN_MS);
  for (const name of left) attempt(() => clear(name));
}

/** Say whether a process lives; a container without an init keeps its dead as zombies. */
function isAlive(pid) {
  if (/\) Z /.test(read(`/proc/${pid}/stat`))) return false;
  try {
    return process.kill(pid, 0);
  } catch (err) {
    return err.code === 'EPERM';
  }
}

// ------------------------------------------------------------------ the spare

/** Start making the next release's copy when this one is complete: in a session of its own, since nothing needs to wait for it. */
function beginSpare(root) {
  const { key } = readJson(TICKET);
  const file = path.join(root, '.gapless/deps', key, 'kept.json');
  // A file system that shares blocks copies in no time.
  const shares = spawnSync('cp', ['--reflink=always', file, `${file}.new.${process.pid}`], { stdio: 'ignore' }).status === 0;
  clear(`${file}.new.${process.pid}`);
  if (!shares) spawn(process.execPath, [__filename, root, '--copy', key], { cwd: '/', detached: true, stdio: 'ignore' }).unref();
}

/** Copy a kept tree once more, after everything else on this host. */
function makeSpare(root, key) {
  const tree = path.join(root, '.gapless/deps', key);
  const spare = path.join(tree, 'spare');
  os.setPriority(19);
  spawnSync('ionice', ['-c', '3', '-p', String(process.pid)], { stdio: 'ignore' });
  sweepTorn(tree);
  for (const other of fs.readdirSync(path.dirname(tree)).filter((name) => name !== key)) clear(path.join(path.dirname(tree), other, 'spare'));
  const size = bytesOf(readJson(path.join(tree, 'kept.json')).modules);
  if (fs.existsSync(spare) || freeBytes(tree) < 4 * size) return;
  const aside = `${spare}.new.${process.pid}`;
  try {
    copy(path.join(tree, MODULES), aside);
    attempt(() => fs.renameSync(aside, spare));
  } finally {
    clear(aside);
  }
}

// ------------------------------------------------------------------ npm prune

/** Run `npm prune`, or take away what it took away before from the same tree. */
function prune(root, command) {
  const ticket = readJson(TICKET);
  const tree = ticket && path.join(root, '.gapless/deps', ticket.key);
  const kept = tree && readJson(path.join(tree, 'kept.json'));
  const now = kept && modules(MODULES);
  // Packages that a step added, and scripts that npm would run, are npm's business.
  if (!kept || digest(wanted()) !== ticket.wanted || !samePackages(now, kept.modules) || ownScripts().some((name) => name.endsWith('dependencies'))) {
    return run(command);
  }
  const file = path.join(tree, `pruned-${digest(command)}.json`);
  const known = readJson(file);
  if (!known) return pruneAndKeep(file, command, now);
  for (const name of known.removed) clear(path.join(MODULES, name));
  fs.writeFileSync(path.join(MODULES, '.package-lock.json'), known.lock);
  say(`pruned as before: ${known.removed.length} entries`);
  return 0;
}

/** Compare names of packages' files; what a step keeps for itself has a dot, and what it changed in place does not count. */
function samePackages(one, other) {
  const names = (list) => Object.keys(list).filter((name) => !name.startsWith('.')).sort().join('\n');
  return one['.package-lock.json'] === other['.package-lock.json'] && names(one) === names(other);
}

/** Run npm's own prune, and remember what it took away, unless it did more than that. */
function pruneAndKeep(file, command, before) {
  const code = run(command);
  const after = attempt(() => modules(MODULES)) ?? {};
  const removed = Object.keys(before).filter((name) => !(name in after));
  const changed = differing(after, before).filter((name) => name !== '.package-lock.json');
  if (code === 0 && !changed.length) {
    const top = removed.filter((name) => !removed.includes(path.dirname(name)));
    attempt(() => write(file, { removed: top, lock: fs.readFileSync(path.join(MODULES, '.package-lock.json'), 'utf8') }));
  }
  return code;
}

const [root, command, key] = process.argv.slice(2);
if (command === '--spare') beginSpare(root);
else if (command === '--copy') makeSpare(root, key);
else process.exitCode = (command.startsWith('npm prune') ? prune : install)(root, command);
