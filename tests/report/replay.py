"""Show a recorded run by the face that fab would choose: python -m tests.report.replay RUN SPEED [FORMAT]."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fabfile.report.faces import face
from fabfile.report.stream import Face
from tests.report import records


def show(run: str, speed: float, shown: Face) -> None:
    """Hand the face a run's events, `speed` times as fast as they came."""
    begun = time.monotonic()
    for record in records(run):
        time.sleep(max(0.0, record["at"] / speed - (time.monotonic() - begun)))
        if "event" in record:
            shown.show({**record, "at": record["at"] / speed})
        else:
            shown.say(record["text"])
    shown.close()


if __name__ == "__main__":
    show(sys.argv[1], float(sys.argv[2]), face(sys.argv[3] if len(sys.argv) > 3 else ""))
    Path("replayed").touch()
