"""The report as a person sees it: in a real Chromium, wide and narrow, light and dark, of three hosts and of sixty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fabfile.report import document
from fabfile.report.figures import figures
from tests.picture.browser import COLLISIONS, CONTRAST, Browser
from tests.picture.crowd import crowd
from tests.picture.recording import recorded

pytestmark = pytest.mark.slow
PAGES = ("good", "throws", "second", "interrupted", "cut", "lost", "many", "many back", "long names")
GOOD = ("build", "drain", "reload", "settle", "new", "old")
RELOADED = ("drain", "reload", "settle", "new")
COLOURS = {"throws": ("build", "drain", "reload", "back", "old"), "interrupted": RELOADED, "cut": RELOADED, "second": (*GOOD, "back")}


def page(name: str) -> str:
    many, _, what = name.partition(" ")
    events = recorded("second" if what == "back" else name if name in PAGES[:5] else "good")
    if many == "many":
        events = crowd(events, 60)
    if name == "lost":
        requests = next(event for event in events if event["event"] == "requests")
        requests["lost"], requests["tallies"][0]["series"]["failed"][25] = 31, 31
    if many == "long":
        events = json.loads(json.dumps(events).replace("lab1", "a-host-with-a-very-long-name.in.some.region.of.a.cloud.example.com"))
    return document.document(figures(events))


@pytest.fixture(params=PAGES)
def file(request: pytest.FixtureRequest, shown: Path) -> Path:
    path = shown / f"{request.param.replace(' ', '-')}.html"
    path.write_text(page(request.param))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_painted_readable_and_quiet(browser: Browser, file: Path, scheme: str) -> None:
    browser.complaints(), browser.asked_for()
    browser.see(file, 1200, scheme)
    picture = browser.picture()
    file.with_suffix(f".1200.{scheme}.png").write_bytes(picture)
    asked = browser.asked_for()
    assert (browser.complaints(), asked) == ([], [file.as_uri()])
    faint = [each for each in browser.run(CONTRAST) if each["ratio"] < 4.5]
    assert faint == []
    assert browser.run(COLLISIONS) == []
    assert browser.run("return document.documentElement.scrollWidth") <= 1200
    box = browser.run("const box = document.querySelector('.picture').getBoundingClientRect(); return [box.x, box.y, box.width, box.height]")
    seen = browser.colours(picture, *map(int, box))
    style = "return arguments[0].map((name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim())"
    wanted = COLOURS.get(file.stem, GOOD)
    for name, colour in zip(wanted, browser.run(style, wanted), strict=True):
        assert seen.get(colour, 0) > 20, (name, colour)


@pytest.mark.parametrize("width", [360, 400])
def test_on_a_telephone_only_the_wide_parts_scroll(browser: Browser, file: Path, width: int) -> None:
    browser.see(file, width, "light")
    file.with_suffix(f".{width}.png").write_bytes(browser.picture())
    assert browser.run("return document.documentElement.scrollWidth") <= width
    boxes = browser.run("return [...document.querySelectorAll('.box')].map((box) => [box.scrollWidth, box.clientWidth])")
    assert boxes[0][0] >= 1120 > boxes[0][1]


def test_it_prints_in_light_colours_with_the_whole_picture(browser: Browser, shown: Path) -> None:
    (shown / "good.html").write_text(page("good"))
    browser.see(shown / "good.html", 1000, "dark", media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 251)"
    assert browser.run("return document.querySelector('.picture').getBoundingClientRect().right") <= 1000


def test_the_eyes_of_these_tests_are_open(browser: Browser, shown: Path) -> None:
    """See faint text, words upon each other, a request to elsewhere and a word in the console, all put in on purpose."""
    bad = page("good").replace("--muted:#57606a", "--muted:#a9b2ba").replace('y="40">', 'y="22">')
    (shown / "bad.html").write_text(bad.replace("</main>", "<script>console.error('x')</script><img src='file:///none.png'></main>"))
    browser.complaints(), browser.asked_for()
    browser.see(shown / "bad.html", 1200, "light")
    assert any(each["ratio"] < 4.5 for each in browser.run(CONTRAST))
    browser.run("document.querySelector('.picture .more').setAttribute('y', 16)")
    assert browser.run(COLLISIONS) != []
    assert len(browser.asked_for()) > 1
    assert browser.complaints() != []
