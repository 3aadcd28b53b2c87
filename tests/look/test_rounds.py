"""Looking again and again: a slow one holds up nobody, is asked once at a time, and is told late."""

from __future__ import annotations

import threading

from fabfile.look.rounds import Rounds


def test_who_is_slow_holds_up_nobody_and_is_not_asked_twice():
    gate, asked = threading.Event(), []

    def slow() -> str:
        asked.append("slow")
        gate.wait(20)
        return "slow"

    rounds = Rounds({"slow": slow, "quick": lambda: asked.append("quick") or len(asked)})
    first, second = rounds.go(0.05), rounds.go(0.05)
    assert (first["slow"][0], first["quick"][1], second["quick"][1]) == (None, 0.0, 0.0)
    assert second["slow"][1] > first["slow"][1] > 0
    assert asked.count("slow") == 1
    assert asked.count("quick") == 2
    gate.set()
    assert rounds.go(20)["slow"] == ("slow", 0.0)
