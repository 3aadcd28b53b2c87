"""Each sample of README and docs comes from a command of the story, and each of the story is shown somewhere."""

from __future__ import annotations

from tests.lab import samples


def test_every_sample_has_its_scene_and_every_scene_its_page():
    assert sorted(samples.samples()) == sorted(scene.sample for scene in samples.STORY if scene.sample)


def test_a_block_on_the_pages_is_found_and_replaced():
    page = "<!-- sample: one -->\n```\n$ old\n```\nwords\n```\nno sample\n```\n"
    assert [match["text"] for match in samples.SAMPLE.finditer(page)] == ["$ old\n"]


def test_the_shape_of_a_sample_keeps_its_words_only():
    one = samples.shape("00:01 lab1     ok in 0.2 s\nlog: 20261124-064946-d83998\n")
    assert one == samples.shape("00:13 lab3  ok in 12.2 s\nlog: 20270101-000000-abcdef\n") == ["# lab# ok in # s", "log: #"]
    assert one != samples.shape("00:01 lab1 FAILED in step x\n")
