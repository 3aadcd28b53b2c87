"""What an app's own files say: package.json, lockfiles, sources. Pure: texts by their path below the app's directory."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from .found import Found, name

Texts = Mapping[str, str]  # path to text; what is not worth reading is "", so that it is known to exist

START = ("start:prod", "start:production", "prod", "start")
MIGRATE = ("migrate:deploy", "migrate:prod", "migration:run", "migrations:run", "migrate:latest", "db:migrate", "migrate")
TOOLS = {  # what migrates, and how, where no script of package.json does
    "prisma": "npx prisma migrate deploy", "knex": "npx knex migrate:latest", "sequelize-cli": "npx sequelize-cli db:migrate",
    "drizzle-kit": "npx drizzle-kit migrate", "node-pg-migrate": "npx node-pg-migrate up",
}
LEADING = ("cross-env", "env", "exec", "npx", "dotenv", "--")
WITH_VALUE = ("-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions")
ENDINGS = (".js", ".cjs", ".mjs")
ENTRIES = ("server.js", "app.js", "index.js", "main.js", "src/server.js", "src/app.js", "src/index.js", "src/main.js")

PORT = re.compile(r"process\.env\.PORT\s*\)?\s*(?:\|\||\?\?)\s*['\"]?([0-9]{2,5})|\.listen\(\s*(?:\{\s*port:\s*)?['\"]?([0-9]{2,5})")
DOTENV_PORT = re.compile(r"^\s*(?:export\s+)?PORT\s*=\s*['\"]?([0-9]{2,5})", re.MULTILINE)
ROUTE = re.compile(r"\.(?:get|use|all)\(\s*['\"`](/[\w/-]*(?:health|ready|alive|ping)[\w/-]*)['\"`]")
CONTROLLER = re.compile(r"@Controller\(\s*['\"`]/?([\w/-]*(?:health|ready|alive|ping)[\w/-]*)['\"`]")
PREFIX = re.compile(r"setGlobalPrefix\(\s*['\"`]/?([\w/-]+)['\"`]\s*(\)?)")


def read(texts: Texts, inside: str, found: Found) -> None:
    """Find out what the app's files say; `inside` is the app's directory in its repository, such as apps/api/, or nothing."""
    package = _json(texts.get("package.json", ""))
    if not package:
        found.note("there is no package.json here that can be read; is this the app's directory?")
    if isinstance(package.get("name"), str):
        found.offer("name", name(package["name"]), "package.json")
    scripts = {key: value for key, value in _mapping(package, "scripts").items() if isinstance(value, str)}
    _script(package, scripts, texts, inside, found)
    _build(package, scripts, texts, inside, found)
    _sources(texts, found)
    _env(package, texts, inside, found)


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(package: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = package.get(key)
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------------- what runs


def _script(package: Mapping[str, Any], scripts: Mapping[str, str], texts: Texts, inside: str, found: Found) -> None:
    for key in START:
        file = script_of(scripts.get(key, ""), texts, package)
        if file:
            found.offer("script", inside + file, f"package.json, scripts.{key}")
    if "@nestjs/core" in _mapping(package, "dependencies"):
        found.offer("script", f"{inside}dist/main.js", "the NestJS default")
    if isinstance(package.get("main"), str) and package["main"].endswith(ENDINGS):
        found.offer("script", inside + package["main"].removeprefix("./"), "package.json, main")
    for file in ENTRIES:
        if file in texts:
            found.offer("script", inside + file, "it is there")


def script_of(command: str, texts: Texts, package: Mapping[str, Any]) -> str:
    """Name the file that a command has node run, or nothing."""
    for part in reversed(re.split(r"&&|;|\|\|", command)):
        try:
            words = shlex.split(part)
        except ValueError:
            continue
        while words and (words[0] in LEADING or re.match(r"[A-Za-z_][A-Za-z0-9_]*=", words[0])):
            words.pop(0)
        if words[:2] == ["nest", "start"]:
            return "dist/main.js"
        if words and words[0] in ("node", "nodejs"):
            return _file(_operand(words[1:]), texts, package)
    return ""


def _operand(words: list[str]) -> str:
    """Give the first word that is neither a flag nor the value of one."""
    while words:
        word = words.pop(0)
        if word in WITH_VALUE and words:
            words.pop(0)
        elif not word.startswith("-"):
            return word
    return ""


def _file(word: str, texts: Texts, package: Mapping[str, Any]) -> str:
    """Name a file as it is on disk: node adds endings, and index.js to a directory; what is built is not there yet."""
    bare = word.removeprefix("./").rstrip("/")
    if bare in (".", ""):
        main = str(package.get("main") or "index.js").removeprefix("./")
        return main if word and main.endswith(ENDINGS) else ""
    if bare in texts or bare.endswith(ENDINGS):
        return bare
    for file in (*(bare + ending for ending in ENDINGS), f"{bare}/index.js"):
        if file in texts:
            return file
    return f"{bare}.js" if "/" in bare else f"{bare}/index.js"


# ---------------------------------------------------------------------- how it is built


def _build(package: Mapping[str, Any], scripts: Mapping[str, str], texts: Texts, inside: str, found: Found) -> None:
    manager, install, prune = _manager(package, texts)
    dependencies, dev = _mapping(package, "dependencies"), _mapping(package, "devDependencies")
    has = {**dependencies, **dev}
    steps = [install]
    prisma = "prisma" in has or "@prisma/client" in has
    if prisma and not any("prisma generate" in scripts.get(key, "") for key in ("build", "prebuild", "postinstall")):
        steps.append("npx prisma generate")
    if "build" in scripts:
        steps.append(f"{manager} run build")
    kept = _migrate(scripts, has, dev, manager, inside, found)
    if kept:
        found.note(f"what migrates ({kept}) is a devDependency: these are not pruned after the build, or it would be gone")
    elif prune and (dev or "build" in scripts):
        steps.append(prune)
    found.build = [f"cd {inside.rstrip('/')} && {step}" if inside else step for step in steps]
    if manager != "npm":
        found.note(f"{manager} must be installed on the hosts, as node and pm2 are")


def _manager(package: Mapping[str, Any], texts: Texts) -> tuple[str, str, str]:
    """Name the package manager, how it installs exactly what its lockfile says, and how it drops devDependencies."""
    named = str(package.get("packageManager", ""))
    if "pnpm-lock.yaml" in texts or named.startswith("pnpm@"):
        return "pnpm", "pnpm install --frozen-lockfile", "pnpm prune --prod"
    if "yarn.lock" in texts or named.startswith("yarn@"):
        if ".yarnrc.yml" in texts or re.match(r"yarn@([2-9]|[1-9][0-9])", named):
            return "yarn", "yarn install --immutable", ""
        return "yarn", "yarn install --frozen-lockfile", "yarn install --frozen-lockfile --production --ignore-scripts --prefer-offline"
    locked = "package-lock.json" in texts or "npm-shrinkwrap.json" in texts
    return "npm", "npm ci" if locked else "npm install", "npm prune --omit=dev"


def _migrate(
    scripts: Mapping[str, str], has: Mapping[str, Any], dev: Mapping[str, Any], manager: str, inside: str, found: Found
) -> str:
    """Propose how to migrate; name the devDependency that does it, if one does."""
    at = f"cd {inside.rstrip('/')} && " if inside else ""
    for key in MIGRATE:
        if key in scripts:
            found.offer("migrate", f"{at}{manager} run {key}", f"package.json, scripts.{key}")
            return next((tool for tool in dev if re.search(rf"(?<![\w-]){re.escape(tool)}(?![\w-])", scripts[key])), "")
    for tool, command in TOOLS.items():
        if tool in has:
            found.offer("migrate", at + command, f"package.json has {tool}")
            return tool if tool in dev else ""
    return ""


# ---------------------------------------------------------------------- what its code says


def _sources(texts: Texts, found: Found) -> None:
    for file in (".env", ".env.production", ".env.example"):
        for port in DOTENV_PORT.findall(texts.get(file, "")):
            found.offer("port", port, file)
    for file in sorted(_code(texts), key=lambda file: (not re.search(r"(^|/)(main|server|app|index|www)(\.|$)", file), file)):
        for groups in PORT.findall(texts[file]):
            found.offer("port", next(filter(None, groups)), file)
    _route(texts, found)


def _code(texts: Texts) -> Iterable[str]:
    return (file for file in texts if not re.search(r"\.(spec|test)\.|(^|/)tests?/", file))


def _route(texts: Texts, found: Found) -> None:
    prefix = next((part for file in sorted(_code(texts)) for part, alone in PREFIX.findall(texts[file]) if alone), "")
    for file in sorted(_code(texts)):
        for route in ROUTE.findall(texts[file]):
            found.offer("health", route, file)
        for route in CONTROLLER.findall(texts[file]):
            found.offer("health", "/".join(["", *filter(None, [prefix.strip("/"), route.strip("/")])]), file)


def _env(package: Mapping[str, Any], texts: Texts, inside: str, found: Found) -> None:
    dependencies = _mapping(package, "dependencies")
    for reason in (*(file for file in (".env", ".env.example", ".env.sample") if file in texts),
                   *(f"package.json has {key}" for key in ("dotenv", "@nestjs/config") if key in dependencies)):
        found.offer("env_file", f"{inside}.env", reason)
    if any(file.startswith("uploads/") for file in texts):
        found.offer("uploads", f"{inside}uploads", "it is there")
