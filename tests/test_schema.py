"""The schema agrees with the validator: what one takes the other takes, but for what is listed here by name."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.errors import InventoryError
from fabfile.inventory import keys, words
from fabfile.inventory.loading import parse
from fabfile.inventory.schema import schema
from fabfile.inventory.values import Update
from tests import test_inventory
from tests.test_inventory import APP, HOST_KEY, PROCESSES, WEB, WRONG, app, group, host

HERE = Path(__file__).parent
SCHEMA = schema()

# ---------------------------------------------------------------------- what the schema can't say

# Rules that JSON Schema has no words for: how the validator says them, and a file that only it refuses.
BEYOND = {
    "a name that must stand elsewhere in the file": (r"no (group|process) is called", group("run: [shp]")),
    "a name that is taken": (r"is a host too", f"{APP}groups:\n  web1: {{hosts: [web1]}}\n"),
    "a group that leads back to itself": (r"would hold itself", f"{APP}{WEB}  a: {{groups: [b]}}\n  b: {{groups: [web, a]}}\n"),
    "the same thing, written in two ways": (r"is there already, in group|is in the list twice|a second server", host("web1, {host: WEB1, port: 22}")),
    "one time that must be longer than another": (r"must be longer than", group("healthy_deadline: 1s")),
    "how large a number or a time is, where it is text": (
        r"is more than a day|is no time at all|is too short; a worker|\"[0-9]{1,10}\" is not a whole number"
        r"|\"[0-9]{1,6}%?\" is not a width; write 1|\"0{1,4}\" is not a number of workers", group("kill_timeout: 1s"),
    ),
    "whether an IPv6 address is one": (r"\"[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*…?\" is not an IP address", host("'1:2:3'")),
    "whether a host key is whole": (r"is a damaged host key", host(f"{{host: web1, host_key: {HOST_KEY}A}}")),
}
KNOWN = re.compile("|".join(f"({message})" for message, _ in BEYOND.values()))

# What an editor does not see any more when YAML has read a file, so that the two may differ: `A:` and `A: null` and `A: ~`
# are one thing to it, so are 0x10, +16, 16.0 and 16, `True` and `true`, and a `none` in quotes and one without.
CANONICAL = re.compile(r"0|-?[1-9][0-9]{0,14}|-?(0|[1-9][0-9]{0,9})\.[0-9]{0,4}[1-9]|true|false")


class Plain(str):
    """Text that stands in the file without quotes."""


class Core(yaml.SafeLoader):
    """Read YAML as editors do: by the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for tag, pattern in {
    "null": r"~|null|Null|NULL|", "bool": r"true|True|TRUE|false|False|FALSE", "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.nan|\.NaN|\.NAN",
}.items():
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), None)
Core.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value, 10 if node.value[:2] not in ("0x", "0o") else 0))


def edited(text: str) -> Any:
    """Give the document that an editor sees; its keys are text."""
    return json.loads(json.dumps(yaml.load(text, Core)))


def anchored(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[jsonschema.ValidationError]:
    """Read a pattern as ECMAScript does, where $ is the very end."""
    if validator.is_type(instance, "string") and not re.fullmatch(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


VALIDATOR = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": anchored})(SCHEMA)


def underlined(text: str) -> list[str]:
    """List what an editor underlines."""
    return [error.message for error in VALIDATOR.iter_errors(edited(text))]


def refused(text: str) -> list[str]:
    """List what the validator says."""
    try:
        parse(text.encode(), Path("/etc/acme/hosts.yaml"))
    except InventoryError as error:
        return re.findall(r"^hosts\.yaml:\d+:\d+: (.*)$", str(error.message), re.MULTILINE)
    return []


def agree(text: str) -> None:
    """Fail unless both take the text or both refuse it, but for a rule that is listed above."""
    ours, theirs = refused(text), underlined(text)
    if theirs:
        assert ours, f"only the schema refuses: {theirs}\n{text}"
    else:
        assert not [message for message in ours if not KNOWN.search(message)], text


# ---------------------------------------------------------------------- whole files

BALANCER = "{kind: haproxy, host: lb1, socket: /run/haproxy.sock, backend: api, url: 'http://lb1:80/x'}"
GOOD = [
    APP + WEB,
    PROCESSES,
    f"""\
app:
  name: shop
  repo: git@example.com:acme/shop.git
  ref: 1.1
  root: ~/shop
  script: ./dist/main.js
  instances: 2
  port: 3000
  health: {{path: "/health?x=1", timeout: 500ms}}
  env_file: none
  env: {{A: b, B: 5, C: true, D: "null", E: -1.5}}
  exec_mode: cluster
  build: [npm ci, npm run build]
  migrate: none
  shared: {{files: [.env, a/b], dirs: [uploads]}}
  header: none
  keep_releases: 5
  min_free_mb: "500"
defaults:
  max_parallel: [1, 25%, "100%"]
  min_healthy_time: 1s
  healthy_deadline: 1m
  progress_deadline: 1h
  drain_timeout: 0s
  kill_timeout: 2.5s
  auto_revert: false
  on_failure: pause
ssh_config: ./ssh_config
known_hosts: ./known_hosts
hooks:
  - {{at: before claim, run: ./friday}}
  - {{at: after reload, run: npm test, where: remote, each: wave, timeout: 5s, on_failure: warn}}
notify:
  - {{kind: slack, url: "env:SLACK", on: failure}}
  - {{kind: github, repo: acme/shop, token: "file:./token", environment: production}}
  - {{kind: command, run: ./tell}}
metrics: {{textfile: ./gapless.prom, otlp: "http://collector:4318/v1/metrics"}}
groups:
  web:
    hosts:
      - 10.0.0.1
      - "::1"
      - {{host: web3, port: 2222, user: deploy, key: ./key, host_key: {HOST_KEY}, server: w3, node_bin: /opt/node/bin, pm2_home: ~/.pm2}}
    run: [shop]
    protected: true
    ssh_config: ./other
    known_hosts: ./others
    health: none
    instances: max
    max_parallel: 2
  api: {{hosts: [api1], balancer: {BALANCER}, health: /up, app: {{name: other, build: {{run: [npm ci], on: first}}, processes: {{a: {{script: a.js, port: none}}}}}}}}
  prod: {{groups: [web, api], protected: false}}
""",
    "groups:\n  web: {hosts: [web1], app: {name: a, repo: /srv/a.git, root: ~/a, script: a.js}}\n",
    APP.replace("  script: dist/main.js\n", "  port: 80\n") + "groups: {a: {hosts: [a1], app: {script: x.js}}, b: {hosts: [b1], app: {processes: {p: {script: p.js}}}}}\n",
    PROCESSES.replace("run: [api]", "app: {ref: next}").replace("run: [worker]", "app: {script: other.js, port: 1}"),
]
KEYS = sorted({*keys.TOP, *keys.APP, *keys.UPDATE, *keys.BALANCER, *keys.HOST, *keys.LEAF, *keys.SHARED, *keys.BUILD, *keys.HOOK, *keys.NOTICE,
               *keys.METRICS, "path", "timeout", "scrpt"})
SCALARS = [
    *map(Plain, ("none", "max", "web", "web1", "1", "0", "-1", "5", "99999", "1.5", "-0.5", "true", "false", "10s", "5", "0s", "25h", "25%", "0%", "fork",
                 "haproxy", "/health", "before claim", "after build", "wave", "remote", "webhook", "github", "env:X", "/srv/x", "~/x", "./x", "../x", "x.js", "shop", "api", "all", "1.1.1.1", "1.1.1.256", "a.lock", "-x", "npm", "a b")),
    "", " ", "5", "0", "99999", "1e5", "true", "::1", "1:2:3", "npm run x", "a@b", "https://u:p@h/x", "ext::sh", "git@h:x", "ä", "\u2028", "x" * 70, "x" * 300,
]


def written(value: Any) -> str:
    """Write a document as YAML, in flow style; strings are in quotes unless they are Plain."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value) if isinstance(value, Plain) else json.dumps(value, ensure_ascii=False)


class Raw(yaml.SafeLoader):
    """Read scalars as they are written."""


def _raw(loader: Raw, node: yaml.ScalarNode) -> str:
    return Plain(node.value) if node.style is None else node.value


for tag in ("str", "int", "float", "bool", "null", "timestamp"):
    Raw.add_constructor(f"tag:yaml.org,2002:{tag}", _raw)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """List every value as the mapping or list that holds it, and the key or index there."""
    for at, one in list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []:
        yield value, at
        yield from places(one)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Take a good file and change it in a few places."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(0, 3))):
        every = list(places(document))
        if not every:
            break
        holder, at = every[draw(st.integers(0, len(every) - 1))]
        taken = list(places(copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))))
        there, key = taken[draw(st.integers(0, len(taken) - 1))]
        new = draw(st.sampled_from([*SCALARS, there[key], [], {}, [there[key]], {"host": there[key]}]))
        change = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add", "again"]))
        if change == "replace":
            holder[at] = new
        elif change == "remove":
            del holder[at]
        elif isinstance(holder, list):
            holder.insert(at, copy.deepcopy(holder[at]) if change == "again" else new)
        elif change == "add":
            holder[draw(st.sampled_from(KEYS))] = new
        else:
            holder[draw(st.sampled_from([*KEYS, "web1", "1", "a b", "PORT"]))] = holder.pop(at)
    return written(document)


DOCUMENTS = [yaml.load(text, Raw) for text in GOOD]


def test_every_key_is_in_a_good_file() -> None:
    seen = {at for document in DOCUMENTS for _, at in places(document)}
    assert {*keys.TOP, *keys.APP, *keys.UPDATE, *keys.BALANCER, *keys.HOST, *keys.LEAF, *keys.COMPOSED, *keys.SHARED, *keys.BUILD, *keys.HOOK,
            *keys.NOTICE, *keys.METRICS, "path", "timeout"} <= seen


@pytest.mark.parametrize("text", [*GOOD, (HERE.parent / "hosts.yaml").read_text()])
def test_a_good_file_is_good_to_both(text: str) -> None:
    assert (refused(text), underlined(text)) == ([], [])


@settings(max_examples=300, deadline=None)
@given(files())
def test_both_agree_on_any_file(text: str) -> None:
    agree(text)


@pytest.mark.parametrize("key", keys.REQUIRED)
def test_a_key_that_every_app_needs_may_stand_in_the_file_or_in_each_group(key: str) -> None:
    without = "".join(line for line in APP.splitlines(keepends=True) if not line.startswith(f"  {key}:"))
    own = {"name": "a", "repo": "/srv/a.git", "root": "/srv/a"}[key]
    here, nowhere = f"{{hosts: [h1], app: {{{key}: {own}}}}}", "{hosts: [h2]}"
    assert (refused(f"{without}groups: {{a: {here}}}\n"), underlined(f"{without}groups: {{a: {here}}}\n")) == ([], [])
    for groups in (f"a: {nowhere}", f"a: {here}, b: {nowhere}", f"a: {nowhere}, b: {{groups: [a]}}"):
        text = f"{without}groups: {{{groups}}}\n"
        assert refused(text) and underlined(text), text


# Not what stands in it, but YAML itself: the editor's own parser has its say there.
NO_YAML = re.compile(r"a second document|the key .* is there already|as a key; a key|merge key|tag |alias|anchor|UTF-8|character|empty; it|a \":\"|a tab|without \":\"|"
                     r"expected|not YAML|found ")


@pytest.mark.parametrize("text", [text for text, _ in WRONG if isinstance(text, str) and not any(NO_YAML.search(each) for each in refused(text))])
def test_both_agree_on_each_known_mistake(text: str) -> None:
    plain = [str(value) for holder, at in places(yaml.load(text, Raw)) if isinstance(value := holder[at], Plain)]
    if not all(CANONICAL.fullmatch(each) or isinstance(edited(each), str) for each in plain):
        pytest.skip("the editor does not see how it is written")
    agree(text)


@pytest.mark.parametrize("name", BEYOND)
def test_what_only_the_validator_knows_is_told_by_it(name: str) -> None:
    message, text = BEYOND[name]
    assert underlined(text) == []
    assert any(re.search(message, each) for each in refused(text))


@pytest.mark.parametrize("key", ["port", "health", "env_file", "migrate", "header"])
@pytest.mark.parametrize("nothing", ["none", "null", "~"])
def test_whatever_means_nothing_may_stand_where_none_may(key: str, nothing: str) -> None:
    assert (refused(app(f"{key}: {nothing}")), underlined(app(f"{key}: {nothing}"))) == ([], [])


# ---------------------------------------------------------------------- single words

WORDS = {name: value for name, value in vars(words).items() if isinstance(value, words.Word)} | {
    "port": words.whole(1, 65535), "keep_releases": words.whole(2), "on_failure": words.one_of("rollback_all", "pause"),
}
ADDRESSES = ["ssh://-o/x", "ssh://git@-o/x", "git@-o:x", "a::b:c", "h::x", "-h:x", "https://u@h/x", "https://u:p@h/x", "ssh://u:p@h/x", "ssh://h:22/x@y", "git@h:a/b"]
TEXTS = [*SCALARS, *test_inventory.NASTY, "./.", "././x", "..", "a/../b", "0.0001ms", "01.1.1.1", *ADDRESSES]
EDITS = "-./:@~_ %,+=09aAzZ{[*$'\n\t\u2028é"


def takes(check: Any, text: str) -> list[str]:
    try:
        check(text)
    except ValueError as error:
        return [str(error)]
    return []


@pytest.mark.parametrize("name", WORDS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_words_pattern_takes_what_its_check_takes(name: str, data: st.DataObject) -> None:
    word = WORDS[name]
    text = data.draw(st.one_of(st.from_regex(word.pattern, fullmatch=True), st.sampled_from(TEXTS)))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(["", *EDITS])) + text[at + data.draw(st.integers(0, 1)):]
    match(word, text)


def match(word: words.Word[Any], text: str) -> None:
    """Fail unless pattern and check agree, but for a rule that is listed above."""
    no = takes(word, text)
    assert all(map(KNOWN.search, no)) if re.fullmatch(word.pattern, text) else no, text


@pytest.mark.parametrize("name", WORDS)
def test_a_words_pattern_takes_no_known_trap(name: str) -> None:
    for text in TEXTS:
        match(WORDS[name], text)


@pytest.mark.parametrize("name", WORDS)
@given(number=st.one_of(st.integers(-10**6, 10**6), st.decimals(-1000, 1000, places=2).map(float)))
def test_a_word_takes_the_numbers_that_its_check_takes(name: str, number: float) -> None:
    text = str(number)
    if not CANONICAL.fullmatch(text):
        return
    valid = jsonschema.Draft202012Validator(WORDS[name].schema).is_valid(number)
    assert valid is not bool(takes(WORDS[name], text)), text


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("text", ["true", "false"])
def test_a_word_takes_true_and_false_as_its_check_does(name: str, text: str) -> None:
    assert jsonschema.Draft202012Validator(WORDS[name].schema).is_valid(text == "true") is not bool(takes(WORDS[name], text))


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
def test_a_pattern_means_the_same_to_an_editor() -> None:
    texts = [text for text in [*SCALARS, *test_inventory.NASTY, "git@h:a/b", "http://lb:80/", HOST_KEY, "x.js", "./a", "~/a", "a/../b", "1.2.3.4", "A_B", "PORT"] if "\0" not in text]
    patterns = {name: f"^(?:{word.pattern})$" for name, word in WORDS.items()}
    code = "const [p, t] = JSON.parse(require('fs').readFileSync(0)); console.log(JSON.stringify(Object.values(p).map((one) => t.map((x) => new RegExp(one, 'u').test(x)))))"
    done = subprocess.run(["node", "-e", code], input=json.dumps([patterns, texts]), capture_output=True, text=True, check=True)
    ours = [[re.fullmatch(pattern, text) is not None for text in texts] for pattern in patterns.values()]
    assert json.loads(done.stdout) == ours


# ---------------------------------------------------------------------- what it is besides


def test_it_is_a_schema_and_every_key_has_words() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    silent = [f"{name}.{key}" for name in ("TOP", "APP", "PROCESS", "UPDATE", "BALANCER", "HOST", "LEAF", "COMPOSED", "SHARED")
              for key, kind in getattr(keys, name).items() if not kind.schema.get("description", "").endswith(".")]
    assert silent == []


def test_its_defaults_are_what_the_validator_fills_in() -> None:
    properties = SCHEMA["properties"]["defaults"]["properties"]
    assert set(properties) == set(keys.UPDATE)
    lines = "".join(f"  {key}: {each['default']}\n" for key, each in properties.items()).replace("True", "true")
    [one] = parse(f"{APP}defaults:\n{lines}{WEB}".encode(), Path("/hosts.yaml")).groups
    assert one.update == Update()
    app_keys = SCHEMA["properties"]["app"]["properties"]
    told = {key: each["default"] for key, each in app_keys.items() if "default" in each}
    assert told == {"ref": "main", "header": "x-release", "keep_releases": 5, "min_free_mb": 500, "instances": "max", "env_file": ".env", "exec_mode": "cluster",
                    "health": {"path": "/health", "timeout": "5s"}}
