"""Ssh config is read as Paramiko reads it, only faster."""

from __future__ import annotations

import io
from pathlib import Path

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import sshconfig
from fabfile.inventory.values import Ssh

WORD = st.text("ab", min_size=1, max_size=2)
MATCH = st.builds("Match {}".format, st.lists(st.sampled_from(["host {}", "originalhost {}", "!host {}", "user {}", "all"]), min_size=1, max_size=1).map(" ".join))
LINE = st.one_of(st.builds("Host {} !{}*".format, WORD, WORD), st.builds("Host {}".format, WORD), MATCH, st.just("Host *"))
CONFIG = st.lists(st.tuples(LINE, WORD, st.integers(1, 9)), min_size=1, max_size=6)


@given(CONFIG, WORD)
def test_what_is_found_is_what_paramiko_finds(blocks: list[tuple[str, str, int]], name: str) -> None:
    text = "".join(f"{line.format(word)}\n  Port {port}\n  IdentityFile ~/{word}\n" for line, word, port in blocks)
    assert sshconfig._Files.from_text(text).lookup(name) == paramiko.SSHConfig.from_text(text).lookup(name)


def test_each_host_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # what runs `Match exec` would read pytest's
    told, config = tmp_path / "told", tmp_path / "config"
    config.write_text(f"Match exec \"echo %n >>{told}\"\n  Port 2222\nHost *\n  HostName 127.0.0.1\n")
    ssh = Ssh("web1", ssh_config=str(config))
    for _ in range(2):
        assert sshconfig.address(ssh) == ("127.0.0.1", 2222)
        assert sshconfig.found(ssh).config().base_ssh_config.lookup("web1")["port"] == "2222"
    asked = told.read_text().split()
    assert set(asked) == {"web1"}
    assert len(asked) <= 2, "Paramiko goes through the file twice in one look"
