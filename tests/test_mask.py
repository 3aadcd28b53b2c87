"""The mask: no secret survives it, however it was printed; what is plainly no secret does, or nobody could read a message."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

RUNTIME = Path(__file__).parent.parent / "fabfile/runtime"
ASK = """
const { hide } = require(process.argv[1]);
require('readline').createInterface({ input: process.stdin }).on('line', (line) => console.log(JSON.stringify(hide(...JSON.parse(line)))));
"""
Hide = Callable[..., str]


@pytest.fixture(scope="module")
def hide() -> Iterator[Hide]:
    """Give the mask as a function of a text and NAME=value..., or a list of pairs; one node answers all of it."""
    with subprocess.Popen(["node", "-e", ASK, str(RUNTIME / "mask.cjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        def ask(text: str, pairs: list[tuple[str, str]] | None = None, **values: str) -> str:
            node.stdin.write(json.dumps([text, pairs or list(values.items())]) + "\n")
            node.stdin.flush()
            return json.loads(node.stdout.readline())
        yield ask
        node.stdin.close()


SECRET = "c4n4ry/of+this\"test' & <more>\\"


@pytest.mark.parametrize("printed", [
    SECRET, json.dumps(SECRET)[1:-1], html.escape(SECRET).replace("&#x27;", "&#39;"), quote(SECRET, safe="!~*'()"), quote(SECRET, safe=""),
    quote_plus(SECRET, safe=""), quote(SECRET, safe="").lower().replace("\\", "%5c"), base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
], ids=["bare", "json", "page", "uri", "url", "form", "url in lower case", "base64", "base64url"])
def test_a_secret_is_hidden_however_it_was_printed(hide, printed):
    assert hide(f"bad key {printed}, sorry", JWT_SECRET=SECRET) == "bad key [hidden JWT_SECRET], sorry"


@pytest.mark.parametrize("before", ["", "a:", "ab:", "user:"])
def test_a_secret_is_hidden_where_it_is_a_part_of_what_was_encoded(hide, before):
    text = base64.b64encode(f"{before}{SECRET}:after".encode()).decode()
    shown = hide(f"Authorization: Basic {text}", API_KEY=SECRET)
    assert "[hidden API_KEY]" in shown
    left = shown.removeprefix("Authorization: Basic ").split("[hidden API_KEY]")
    assert len("".join(left)) <= len(base64.b64encode(f"{before}:after".encode())) + 4


def test_what_node_prints_of_an_object_is_hidden(hide):
    program = "console.log(require('util').inspect({ key: process.argv[1] }))"
    printed = subprocess.run(["node", "-e", program, 'back\\slash "and" quote'], capture_output=True, text=True, check=True).stdout
    assert hide(printed, API_KEY='back\\slash "and" quote') == "{ key: '[hidden API_KEY]' }\n"


def test_a_url_with_a_password_is_hidden_whole_and_its_password_alone(hide):
    url = "postgres://app:p%40ssw0rd@db.internal:5432/shop?schema=public"
    assert hide(f"connect to {url}", DATABASE_URL=url) == "connect to [hidden DATABASE_URL]"
    assert hide("password p%40ssw0rd (p@ssw0rd) of app at db.internal", DATABASE_URL=url) == (
        "password [hidden DATABASE_URL] ([hidden DATABASE_URL]) of app at db.internal")


@pytest.mark.parametrize("url, secret", [
    ("amqp://app:w0rd@with/odd:signs@mq/x", "w0rd@with/odd:signs"),
    ("https://ghp_0123456789abcdef@example.com/x.git", "ghp_0123456789abcdef"),
    ("https://0123456789abcdef0123456789abcdef@sentry.example.com/7", "0123456789abcdef0123456789abcdef"),
    ("mongodb://app:t0ps3cret@a.example.com,b.example.com/x", "t0ps3cret"),
    ("redis://:t0ps3cret@cache:6379", "t0ps3cret"),
    ("postgres://app:p a$s@db/x", "p%20a$s"),
    ("postgres://app:postgres@db/x", "postgres"),
])
def test_what_logs_in_by_a_url_is_hidden(hide, url, secret):
    assert hide(f"<{secret}>", SOME_URL=url) == "<[hidden SOME_URL]>"
    assert "[hidden SOME_URL]" in hide(f"<{url}>", SOME_URL=url)
    assert secret not in hide(f"<{url}>", SOME_URL=url)


@pytest.mark.parametrize("value", [
    "", "true", "false", "8080", "-1", "3.14", "3600000", "short", "production", "development", "localhost", "localhost:5432", "db:5432",
    "db.internal", "10.20.30.40", "10.20.30.40:6379", "/var/run/app.sock", "./uploads/x", "../data", "~/files/a-b_c.d", "/etc/ssl/certs/ca.pem",
    "http://localhost:3000", "https://api.example.com", "https://api.example.com/v1/items/", "   padded   ",
])
def test_what_is_plainly_no_secret_is_shown(hide, value):
    text = f"listen on {value}: {value}"
    assert hide(text, SETTING=value) == text


@pytest.mark.parametrize("value", [
    "Production", "c4n4ry", "two words", "correcthorsebatterystaple", "0123456789012345678901234", "/9j4AAQSkZJRgABAQEASABIAADx",
    "https://hooks.example.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "https://example.com/?token=abc",
])
def test_what_may_be_a_secret_is_hidden(hide, value):
    assert hide(f"<{value}>", SETTING=value) == "<[hidden SETTING]>"


@pytest.mark.parametrize("name", ["JWT_SECRET", "DB_PASSWORD", "dbPassword", "API_KEY", "API_KEY_2", "TOKEN", "SECRET_KEY_BASE", "PIN"])
def test_what_its_name_calls_a_secret_is_hidden_though_it_looks_like_none(hide, name):
    for value in ("production", "482910", "https://example.com/x", "db.internal"):
        assert hide(f"<{value}>", **{name: value}) == f"<[hidden {name}]>"
    assert hide("<short>", **{name: "short"}) == "<short>"


@pytest.mark.parametrize("name", ["TOKEN_TTL", "KEY_PATH", "AUTH_URL", "KEYCLOAK_HOST"])
def test_a_name_that_only_speaks_of_secrets_hides_nothing(hide, name):
    assert hide("<3600000>", **{name: "3600000"}) == "<3600000>"


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


def test_a_value_of_many_lines_is_hidden_whole_and_line_by_line(hide):
    assert hide(f"key:\n{PEM}.", TLS_KEY=PEM) == "key:\n[hidden TLS_KEY]\n."
    assert hide("| hkiG9w0BAQEFAASC |\n| MIIEvQIBADANBgkq\r\n", TLS_KEY=PEM) == "| [hidden TLS_KEY] |\n| [hidden TLS_KEY]\r\n"
    assert hide(json.dumps({"key": PEM}), TLS_KEY=PEM) == '{"key": "[hidden TLS_KEY]\\n"}'
    assert hide("hkiG9w0BAQEFAASC", TLS_KEY=PEM.replace("\n", "\r\n")) == "[hidden TLS_KEY]"


def test_the_longest_comes_first_and_nothing_of_an_overlap_is_left(hide):
    pairs = [("A", "s3cret"), ("B", "s3cret-and-more"), ("C", "more-of-it"), ("D", "x1x1x1")]
    assert hide("s3cret-and-more s3cret", pairs) == "[hidden B] [hidden A]"
    assert hide("s3cret-and-more-of-it", pairs) == "[hidden B]"
    assert hide("x1x1x1x1x1-", pairs) == "[hidden D]-"


def test_a_text_without_secrets_is_left_as_it_is(hide):
    assert hide("", A="s3cret-1") == ""
    assert hide("nothing\nhere\n", A="s3cret-1") == "nothing\nhere\n"
    assert hide("$& $1 s3cret-1", **{"$&": "s3cret-1"}) == "$& $1 [hidden $&]"


anything = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True)
canaries = st.text(alphabet="abcXYZ019 -_.:/@?#&=+%$'\"\\<>äß→\U0001f4a5\n\t", min_size=6, max_size=40)


def printings(text: str) -> set[str]:
    """List the ways in which a person would find the text again."""
    encoded = base64.b64encode(text.encode()).decode()
    ways = {text, json.dumps(text, ensure_ascii=False)[1:-1], quote(text, safe=""), quote_plus(text), encoded, encoded.replace("+", "-").replace("/", "_")}
    return {way for way in ways if len(way) >= 6}


@settings(max_examples=400, deadline=None)
@given(canary=canaries, others=st.lists(st.tuples(names, anything), max_size=4), around=st.lists(anything, min_size=2, max_size=5), data=st.data())
def test_a_canary_never_survives(hide, canary, others, around, data):
    secret = f"#{canary.strip()}#".replace("\n", "#")
    assume(len(canary.strip()) >= 6)
    way = data.draw(st.sampled_from(sorted(printings(secret))))
    overlap = secret[3:] + "overlap"
    shown = hide(way.join(around), [*others, ("CANARY", secret), ("OVER", overlap)])
    assert all(each not in shown for each in printings(secret))


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(canaries, min_size=2, max_size=4), text=anything)
def test_no_line_of_a_long_value_survives(hide, lines, text):
    whole = "\n".join(lines)
    for line in (each.strip() for each in whole.strip().split("\n")):
        assert len(line) < 6 or line not in hide(f"{text.replace(line, '')}: {line} .", CANARY=whole)


def test_much_text_and_many_values_take_no_time(hide):
    values = [(f"NAME_{number}", f"s3cret-value-number-{number:03}") for number in range(100)]
    text = "\n".join(f"line {number} of a build that prints s3cret-value-number-{number % 100:03}!" for number in range(15_000))
    begun = time.monotonic()
    shown = hide(text, values)
    assert time.monotonic() - begun < 10
    assert (shown.count("[hidden NAME_"), "s3cret" in shown) == (15_000, False)
