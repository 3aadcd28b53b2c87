"""The lab's repository is the same each time and holds what RELEASES promises."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab import repo as lab

REASONS = {"exception", "rejection", "exit", "health", "no-listen", "release", "config", "listen"}
VERSION_FILES = ("src/version.ts", "src/version.cjs")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.build_repo(tmp_path_factory.mktemp("repo") / "shop.git")


def git(repo: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(repo), *words], check=True, capture_output=True, text=True).stdout


def refs(repo: Path) -> str:
    return git(repo, "for-each-ref", "--format=%(objectname) %(refname)")


def test_two_builds_have_the_same_commits(bare: Path, tmp_path: Path) -> None:
    assert refs(lab.build_repo(tmp_path / "other.git")) == refs(bare)


def test_a_second_build_leaves_the_repository_alone(bare: Path) -> None:
    before = bare.stat().st_ino
    assert lab.build_repo(bare).stat().st_ino == before


def test_a_repository_of_older_sources_is_replaced(bare: Path, tmp_path: Path) -> None:
    stale = tmp_path / "shop.git"
    stale.mkdir()
    (stale / lab.STAMP).write_text("older")
    assert refs(lab.build_repo(stale)) == refs(bare)


def test_builds_at_the_same_time_leave_one_whole_repository(bare: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lab.build_repo, [tmp_path / "shop.git"] * 4)) == {tmp_path / "shop.git"}
    assert refs(tmp_path / "shop.git") == refs(bare)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.git"]


def test_every_release_is_a_tag_and_main_is_v1(bare: Path) -> None:
    assert set(git(bare, "tag").split()) == set(lab.RELEASES)
    assert git(bare, "rev-parse", "main") == git(bare, "rev-parse", "v1")
    assert git(bare, "branch", "--format=%(refname:short)").split() == ["main"]
    git(bare, "fsck", "--strict")


def test_every_version_is_in_its_release_and_in_no_other() -> None:
    versions = [release.version for release in lab.RELEASES.values()]
    assert len(set(versions)) == len(versions)
    for name, release in lab.RELEASES.items():
        files = lab.files_of(name)
        text = next(files[path] for path in VERSION_FILES if path in files).decode()
        assert f"'{release.version}'" in text


def test_every_directory_of_sources_is_a_release() -> None:
    assert {path.name for path in (lab.APPS / "releases").iterdir()} <= set(lab.RELEASES)


def test_only_failing_releases_have_a_reason_and_it_is_in_the_contract() -> None:
    for release in lab.RELEASES.values():
        assert (release.reason is not None) == (release.fails == "boot")
        assert release.reason is None or release.reason in REASONS


def test_nest_releases_share_one_lockfile() -> None:
    locks = {lab.files_of(name)["package-lock.json"] for name, release in lab.RELEASES.items() if release.migrates}
    assert locks == {lab.files_of("v1")["package-lock.json"], lab.files_of("fastify")["package-lock.json"]}


@pytest.mark.parametrize("name", lab.RELEASES)
def test_no_lockfile_says_where_packages_come_from(name: str) -> None:
    text = lab.files_of(name)["package-lock.json"].decode()
    assert "resolved" not in text
    homepages = [package.pop("funding", None) for package in json.loads(text)["packages"].values()]
    addresses = re.findall(r"https?://[^\"]+", text)
    assert len(addresses) == len(re.findall(r"https?://", json.dumps(homepages)))


@pytest.mark.parametrize("name", lab.RELEASES)
def test_a_release_holds_sources_only(name: str) -> None:
    paths = lab.files_of(name)
    assert {"package.json", "package-lock.json", ".npmrc", ".gitignore"} <= set(paths)
    assert not [path for path in paths if lab.MADE_HERE & set(path.split("/"))]
