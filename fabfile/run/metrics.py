"""The figures of a run that is over: a text file for node_exporter, and OTLP/HTTP JSON for a collector."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..report.summary import Ended
from .notify import Untold, post


class Figure(NamedTuple):
    """Hold one figure of a run; a counter adds up over runs."""

    name: str
    unit: str      # of OTLP (UCUM): s, 1, {request}, {run}
    help: str
    value: float | None
    counter: bool = False


def figures(summary: Mapping[str, Any]) -> list[Figure]:
    """Give the figures of one run; what was not measured has no value, never 0."""
    counted = summary["requests"] or {}
    ok = summary["exit"] == 0
    return [
        Figure("run_timestamp_seconds", "s", "When the last run ended, in seconds since 1970.", time.time()),
        Figure("run_success", "1", "Whether the last run ended well.", float(ok)),
        Figure("run_duration_seconds", "s", "How long the last run took.", summary["seconds"]),
        Figure("run_requests_sent", "{request}", "Requests that the prober sent in the last run.", counted.get("sent")),
        Figure("run_requests_lost", "{request}", "Requests that were lost in the last run.", counted.get("lost")),
        Figure("run_longest_gap_seconds", "s", "Longest time without a good answer in the last run.", counted.get("longest_gap")),
        Figure("runs_total", "{run}", "Runs so far.", 1, counter=True),
        Figure("run_failures_total", "{run}", "Runs that did not end well so far.", float(not ok), counter=True),
        Figure("requests_lost_total", "{request}", "Requests lost by runs so far.", counted.get("lost"), counter=True),
    ]


def metrics(ended: Ended) -> str:
    """Write and send the figures of a run; return what failed."""
    where = ended.targets.around.metrics
    if not (where.textfile or where.otlp):
        return ""
    labels = {"verb": ended.summary["verb"], "selector": ended.targets.selector}
    faults = []
    for address, put in ((where.textfile, write), (where.otlp, send)):
        try:
            if address:
                put(address, figures(ended.summary), labels)
        except (Untold, OSError) as err:
            faults.append(f"note: metrics to {address}: {getattr(err, 'strerror', None) or err}")
    return "\n".join(faults)


# ------------------------------------------------------------------ Prometheus

SERIES = re.compile(r'gapless_(\w+)(\{.*\}) (\S+)')


def write(file: str, found: Iterable[Figure], labels: Mapping[str, str]) -> None:
    """Put the figures into the file, by rename; other verbs' and selectors' stay, counters go on."""
    path = Path(file)
    with open(f"{path}.lock", "w") as lock:  # two runs on different hosts may end in the same second
        _await(lock)
        before = {}
        with suppress(FileNotFoundError):
            before = {(match[1], match[2]): float(match[3]) for line in path.read_text().splitlines() if (match := SERIES.fullmatch(line))}
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.write_text(text(before, found, labels))
        aside.rename(path)


def _await(lock: IO[str]) -> None:
    """Take the lock within a second or so; raise OSError where somebody sits on it."""
    for left in range(10, -1, -1):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
        time.sleep(0.1)


def text(before: Mapping[tuple[str, str], float], found: Iterable[Figure], labels: Mapping[str, str]) -> str:
    """Lay out all series, those of `before` that are not of these labels too (Prometheus text format 0.0.4)."""
    mine = "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"
    lines = []
    for figure in found:
        series = {each: old for (name, each), old in before.items() if name == figure.name}
        if figure.value is not None:
            series[mine] = figure.value + (series.get(mine, 0.0) if figure.counter else 0.0)
        elif not figure.counter:
            series.pop(mine, None)  # of the run before: this one has none
        kind = "counter" if figure.counter else "gauge"
        lines += [f"# HELP gapless_{figure.name} {figure.help}", f"# TYPE gapless_{figure.name} {kind}"]
        lines += [f"gapless_{figure.name}{each} {number!r}" for each, number in sorted(series.items())]
    return "\n".join([*lines, ""])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# ------------------------------------------------------------------ OTLP


def send(url: str, found: Iterable[Figure], labels: Mapping[str, str]) -> None:
    """Post the figures as OTLP/HTTP JSON (opentelemetry.io/docs/specs/otlp, 1.5)."""
    post(url, otlp(found, labels, time.time_ns()))


def otlp(found: Iterable[Figure], labels: Mapping[str, str], now: int) -> dict[str, Any]:
    """Lay out an ExportMetricsServiceRequest; a counter is a delta, since each run is a process of its own."""
    return {"resourceMetrics": [{
        "resource": {"attributes": _attributes({"service.name": "gapless"})},
        "scopeMetrics": [{"scope": {"name": "gapless"}, "metrics": [
            _metric(figure, labels, now) for figure in found if figure.value is not None
        ]}],
    }]}


def _metric(figure: Figure, labels: Mapping[str, str], now: int) -> dict[str, Any]:
    point = {"attributes": _attributes(labels), "timeUnixNano": str(now), "asDouble": figure.value}
    name = f"gapless.{figure.name.removesuffix('_total').removesuffix('_seconds').replace('_', '.')}"
    body: dict[str, Any] = {"gauge": {"dataPoints": [point]}}
    if figure.counter:
        point["startTimeUnixNano"] = str(now - 1)
        body = {"sum": {"dataPoints": [point], "aggregationTemporality": 1, "isMonotonic": True}}
    return {"name": name, "unit": figure.unit, "description": figure.help, **body}


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
