"""What may be given as an artifact, and what of it may be shown."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.parcel import Parcel, parcel

HEX = "3f2a1b9" + "0" * 57
TOKEN = "X-Amz-Signature=s3cr3t"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "shop.tgz"
    made.write_bytes(b"x" * 100_000)
    return made


def refused(*given: str) -> str:
    with pytest.raises(UsageError) as caught:
        parcel(*given)
    return str(caught.value.message)


def given(*words: str) -> Parcel:
    made = parcel(*words)
    assert made is not None
    return made


def test_nothing_is_no_artifact():
    assert parcel("") is None
    assert "say which" in refused("", HEX)


def test_a_file_is_known_by_what_is_in_it(file):
    made = given(str(file))
    assert (made.name, made.sha256, made.url) == (str(file), hashlib.sha256(file.read_bytes()).hexdigest(), "")
    assert b"".join(made.chunks()) == file.read_bytes()
    assert given(str(file), made.sha256.upper()) == made


def test_a_file_that_is_another_or_none_is_refused(file, tmp_path):
    assert "not that of --sha256" in refused(str(file), HEX)
    assert "can't be read" in refused(str(tmp_path / "none.tgz"))
    assert "can't be read" in refused(str(tmp_path))


@pytest.mark.parametrize("url, sha256", [
    (f"https://s3.example/b/shop.tgz?{TOKEN}", HEX), (f"https://s3.example/b/shop.tgz?{TOKEN}#sha256={HEX}", ""),
    (f"https://s3.example/b/shop.tgz?{TOKEN}#sha256={HEX.upper()}", HEX),
])
def test_an_address_is_shown_without_what_is_secret_in_it(url, sha256):
    made = given(url, sha256)
    assert (made.name, made.sha256, made.url) == ("https://s3.example/b/shop.tgz", HEX, f"https://s3.example/b/shop.tgz?{TOKEN}")
    assert "s3cr3t" not in repr(made)


def test_an_address_in_the_environment_is_called_by_its_variable(monkeypatch, file):
    monkeypatch.setenv("ARTIFACT", f"https://s3.example/x?{TOKEN}")
    assert given("env:ARTIFACT", HEX).url.endswith(TOKEN)
    monkeypatch.setenv("ARTIFACT", str(file))
    assert given("env:ARTIFACT").file == file
    assert "NOWHERE is not set" in refused("env:NOWHERE")


def test_an_address_without_a_hash_is_refused_with_the_way_to_it():
    told = refused(f"https://s3.example/shop.tgz?{TOKEN}")
    assert "must be known beforehand" in told and "--sha256 HEX" in told and "s3cr3t" not in told
    assert "differ" in refused(f"https://s3.example/x#sha256={HEX}", "0" * 64)
    assert "64 digits" in refused("https://s3.example/x", "abc")
    assert "64 digits" in refused("https://s3.example/x#main", "")


@pytest.mark.parametrize("url", [
    "ftp://h/x", "file:///etc/passwd", "https://user:s3cr3t@h/x", "https://h", "https:///x", "https://h/a b", 'https://h/x"\nurl = "file:///etc/passwd',
    "https://h/x\\", "https://h/ä", "https://h/'x'", "gopher://h/x", "https://h\t/x",
])
def test_what_hosts_cant_or_must_not_fetch_is_refused(url):
    assert "no address that hosts can fetch" in refused(url, HEX)
    assert "s3cr3t" not in refused(url, HEX)
