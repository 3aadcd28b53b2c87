"""The page: whole, small, safe, and the same in words as in the picture."""

from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fabfile.report import document
from fabfile.report.figures import figures
from tests.picture.crowd import crowd
from tests.picture.recording import FOLDER, RECORDED, recorded

NASTY = [
    '<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "' onload='alert(1)", "]]></style><style>*{display:none}", "&lt;b&gt; & <b>",
    "\x1b]8;;http://evil\x07click\x1b]8;;\x07\x1b[2J", "javascript:alert(1)", "\ud800 lone", "</title></svg></pre>", "{0} %s ${x}", "\u202edetart",
]
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "figure", "figcaption", "footer", "h1", "h2", "p", "span", "small",
    "dl", "div", "dt", "dd", "ul", "li", "a", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "b", "br",
    "svg", "defs", "pattern", "g", "path", "rect", "circle", "text",
}


class Seen(HTMLParser):
    """Collect what a browser would make of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def page(name: str) -> str:
    return document.document(figures(recorded(name)))


def poisoned(value: Any, poison: str) -> Any:
    """Put the poison where anybody else than us has the word: names, reasons, lines, messages, commits."""
    if isinstance(value, dict):
        words = ("who", "from", "commit", "ci", "why", "lines", "message", "text", "tail", "step", "selector", "what", "was", "now", "release", "to")
        return {key: poison if key in words and isinstance(each, str) else poisoned(each, poison) for key, each in value.items()}
    if isinstance(value, list):
        return [poison if each == "lab1" else poisoned(each, poison) for each in value]
    return poison if value == "lab1" else value


@pytest.mark.parametrize("poison", NASTY)
@pytest.mark.parametrize("name", RECORDED)
def test_nothing_that_a_host_or_a_person_says_is_taken_for_markup(name, poison):
    events = [{key: poisoned(value, poison) if key != "phase" else value for key, value in event.items()} for event in recorded(name)]
    for event in events:
        if "hosts" in event and isinstance(event["hosts"], dict):
            event["hosts"] = {poison if host == "lab1" else host: end for host, end in event["hosts"].items()}
    made = document.document(figures([poisoned(event, poison) for event in events]))
    seen = Seen(made.encode("utf-8", "replace").decode())
    assert set(seen.tags) <= TAGS
    assert seen.tags.count("style") == 1
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "style")]
    assert not [value for name, value in seen.attributes if name == "href"]
    assert "\x1b" not in made and "\x07" not in made


def test_the_link_to_ci_is_the_only_one_there_may_be():
    events = recorded("good")
    events[0]["ci"] = 'https://ci.example.com/jobs/7?a=1&b="x"'
    seen = Seen(document.document(figures(events)))
    assert [value for name, value in seen.attributes if name == "href"] == [events[0]["ci"]]


@pytest.mark.parametrize("name", RECORDED)
def test_it_needs_nothing_else(name):
    made = page(name)
    assert not re.search(r"<(script|link|img|iframe|object|use|image)\b|@import|url\((?!#)|https?://", made)
    assert "<!doctype html>" in made and '<html lang="en">' in made


@pytest.mark.parametrize("name", RECORDED)
def test_the_picture_is_whole_and_has_a_name(name):
    svg = re.search(r'<svg class="picture".*?</svg>', page(name), re.S)
    assert svg
    tree = ElementTree.fromstring(svg.group())
    assert tree.get("role") == "img"
    for each in str(tree.get("aria-labelledby")).split():
        assert f'id="{each}"' in page(name)


@pytest.mark.parametrize("name", RECORDED)
def test_the_table_holds_in_words_what_the_picture_shows(name):
    run, made = figures(recorded(name)), page(name)
    table = made[made.index("<table"):]
    for lane in run.lanes:
        assert f'<th scope="row">{lane.host}</th>' in table
        for segment in lane.segments:
            assert f'<th scope="col">{segment.kind}</th>' in table
            assert f"<b>{segment.end - segment.start:.1f}</b>" in table
        for mark in lane.marks:
            assert (document.text(mark.text) in table) == (mark.kind not in ("boot", "open"))
    assert all(document.text(state) in made for _, state in run.states)


def test_it_tells_who_where_and_what_to_do():
    words = Seen(page("throws")).words
    for each in ("lena on desk", "failed: the fleet is safe on the old release · exit 1", "Error: JWT_SECRET is not set", "fab status --hosts lab",
                 "lab2, lab3: was not touched", "0 lost of ", "floor 2", "UTC"):
        assert each in words, each


def test_a_lost_request_is_seen():
    events = recorded("good")
    requests = next(event for event in events if event["event"] == "requests")
    requests["lost"] = 2
    requests["tallies"][0]["series"]["failed"][25] = 2
    made = document.document(figures(events))
    assert 'class="lost"' in made and "2 lost of " in made
    assert 'class="lost"' not in page("good")


def test_another_schema_is_told_on_the_page():
    events = recorded("good")
    events[0]["schema"] = 7
    assert "another version of gapless (schema 7, here " in document.document(figures(events))


def test_it_stays_small():
    assert len(page("second").encode()) < 60_000
    for name in ("good", "second"):
        assert len(document.document(figures(crowd(recorded(name), 60))).encode()) < 150_000


def test_it_stays_small_where_much_was_said():
    events = crowd(recorded("throws"), 60)
    events[-1]["message"] = "\n".join("x" * 5000 for _ in range(5000))
    for event in events:
        if event["event"] == "failed":
            event["why"] = "y" * 5000
    made = document.document(figures(events))
    assert len(made.encode()) < 150_000
    assert "4920 lines more" in made


# ---------------------------------------------------------------- the file


def test_it_is_written_beside_its_events_for_nobody_else_and_again_over_itself(tmp_path: Path):
    events = (FOLDER / "good.jsonl").read_text()
    (tmp_path / "run.jsonl").write_text(events)
    (tmp_path / "report.html").write_text("an older one")
    file, run = document.write(tmp_path)
    assert (file.parent, run.exit, stat.S_IMODE(file.stat().st_mode)) == (tmp_path, 0, 0o600)
    assert "0 lost of" in file.read_text()
    torn = events.splitlines()[:-1]
    (tmp_path / "run.jsonl").write_text("\n".join([*torn, '{"event": "summ']))
    assert document.write(tmp_path)[1].exit is None
    assert document.write(tmp_path, json.loads(events.splitlines()[-1]))[1].exit == 0


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path):
    events = recorded("throws")
    events[-1]["message"] = "\udcff failed"
    (tmp_path / "run.jsonl").write_text("\n".join(map(json.dumps, events)))
    assert b"? failed" in document.write(tmp_path)[0].read_bytes()
