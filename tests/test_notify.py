"""News and figures of a run: what arrives, what is secret, and that nobody who is told can hold a run up or change its end."""

from __future__ import annotations

import fcntl
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from fabfile.inventory.values import Around, Metrics, Notice, Targets
from fabfile.report.summary import Ended
from fabfile.run import afterwards, metrics, notify

SUMMARY = {
    "run": "20261124-090000-abcdef", "verb": "deploy", "aim": "deploy", "selector": "prod", "ci": "https://ci.example.com/7", "exit": 1, "outcome": "failed",
    "release": "0003-f808291", "commit": "f808291" + "0" * 33, "message": "lab1 failed in reload: <health> & 500\nmore", "hosts": {}, "log": "x",
    "requests": {"sent": 420, "lost": 0, "longest_gap": 0.27, "proven": True}, "seconds": 26.4,
}


class Ear:
    """A real HTTP server that keeps what it is told."""

    def __init__(self) -> None:
        ear = self
        self.heard: list[tuple[str, dict[str, str], Any]] = []
        self.status, self.delay, self.body = 200, 0.0, b'{"id": 77}'

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                ear.heard.append((self.path, dict(self.headers), body))
                time.sleep(ear.delay)
                self.send_response(ear.status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(ear.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def ear() -> Iterator[Ear]:
    listening = Ear()
    yield listening
    listening.server.shutdown()


def ended(*notices: Notice, directory: Path = Path("."), figures: Metrics | None = None, **changes: Any) -> Ended:
    around = Around(str(directory), notify=notices, metrics=figures or Metrics())
    return Ended(directory, Targets("prod", (), (), around=around), {**SUMMARY, **changes})


def test_a_webhook_gets_the_summary(ear):
    assert notify.notify(ended(Notice("webhook", url=f"{ear.url}/hook"))) == ""
    [(path, headers, body)] = ear.heard
    assert (path, headers["User-Agent"], body["schema"], body["exit"], body["requests"]["lost"]) == ("/hook", "gapless", 1, 1, 0)
    assert body["text"] == "deploy of 0003-f808291 on prod: failed (exit 1) · 420 requests sent, 0 lost · 26 s: lab1 failed in reload: <health> & 500"


def test_slack_gets_one_text_that_can_link_to_nothing(ear, monkeypatch):
    monkeypatch.setenv("SLACK_URL", f"{ear.url}/services/c4n4ry")
    assert notify.notify(ended(Notice("slack", url="env:SLACK_URL"))) == ""
    [(_, _, body)] = ear.heard
    assert list(body) == ["text"]
    assert body["text"].endswith("&lt;health&gt; &amp; 500")


@pytest.mark.parametrize("code, state", [(0, "success"), (1, "failure"), (5, "error"), (143, "error")])
def test_github_gets_a_deployment_and_its_end(ear, monkeypatch, tmp_path, code, state):
    monkeypatch.setenv("GITHUB_API_URL", ear.url)
    (tmp_path / "token").write_text("t0ken\n")
    notice = Notice("github", repo="acme/shop", token="file:token", environment="production")
    assert notify.notify(ended(notice, directory=tmp_path, exit=code)) == ""
    [(path, headers, made), (status_path, _, status)] = ear.heard
    assert (path, status_path) == ("/repos/acme/shop/deployments", "/repos/acme/shop/deployments/77/statuses")
    assert (headers["Authorization"], made["ref"], made["required_contexts"]) == ("Bearer t0ken", SUMMARY["commit"], [])
    assert (status["state"], status["environment"], status["log_url"]) == (state, "production", SUMMARY["ci"])
    assert len(status["description"]) <= 140


@pytest.mark.parametrize("verb, aim, posts", [
    ("deploy", "deploy", 2), ("resume", "deploy", 2), ("build", "build", 0), ("abort", "deploy", 0), ("rollback", "rollback", 0), ("resume", "build", 0),
])
def test_only_what_was_deployed_is_a_deployment(ear, monkeypatch, verb, aim, posts):
    monkeypatch.setenv("GITHUB_API_URL", ear.url)
    monkeypatch.setenv("TOKEN", "t")
    assert notify.notify(ended(Notice("github", repo="a/b", token="env:TOKEN"), verb=verb, aim=aim)) == ""
    assert len(ear.heard) == posts


def test_an_answer_without_a_body_will_do(ear):
    ear.body = b""
    assert notify.notify(ended(Notice("webhook", url=ear.url))) == ""


def test_a_command_reads_the_summary_where_hosts_yaml_is(tmp_path):
    assert notify.notify(ended(Notice("command", run="cat >told.json"), directory=tmp_path)) == ""
    assert json.loads((tmp_path / "told.json").read_text())["verb"] == "deploy"


def test_only_failures_where_only_they_are_wanted(ear):
    notice = Notice("webhook", url=ear.url, on="failure")
    notify.notify(ended(notice, exit=0))
    assert ear.heard == []
    notify.notify(ended(notice, exit=5))
    assert len(ear.heard) == 1


def test_what_goes_wrong_is_told_without_the_address(ear, monkeypatch):
    ear.status = 500
    monkeypatch.setenv("SLACK_URL", f"{ear.url}/c4n4ry")
    monkeypatch.setenv("GONE", "http://127.0.0.1:1/c4n4ry")
    said = notify.notify(ended(
        Notice("slack", url="env:SLACK_URL"), Notice("webhook", url="env:GONE"), Notice("webhook", url="env:UNSET"), Notice("command", run="echo no; exit 3")))
    assert said.splitlines() == [
        "note: notify slack: it answered 500", "note: notify webhook: ConnectionError", "note: notify webhook: UNSET is not set in the environment",
        "note: notify command: exit code 3; no",
    ]


def test_who_hangs_holds_nobody_up(ear, monkeypatch):
    monkeypatch.setattr(notify, "LIMIT", 0.5)
    ear.delay = 3.0
    begun = time.monotonic()
    said = notify.notify(ended(Notice("webhook", url=ear.url), Notice("command", run="sleep 30")))
    assert time.monotonic() - begun < 2.5
    assert len(said.splitlines()) == 2


def test_a_teller_that_breaks_changes_nothing(monkeypatch):
    def breaks(run: Ended) -> str:
        raise RuntimeError("broken")

    said: list[str] = []
    monkeypatch.setattr(afterwards, "TELLERS", (breaks, lambda run: "the next"))
    afterwards.tell(ended(), said.append)
    assert said == ["note: breaks: broken", "the next"]


# ---------------------------------------------------------------------- figures


def series(path: Path) -> dict[tuple[str, str], float]:
    """Read a text file by Prometheus' own parser: name and verb to value."""
    families = text_string_to_metric_families(path.read_text())
    return {(sample.name, sample.labels["verb"]): sample.value for family in families for sample in family.samples}


def test_the_text_file_is_what_prometheus_reads_and_counters_go_on(tmp_path):
    path = tmp_path / "gapless.prom"
    run = ended(figures=Metrics(str(path)))
    assert metrics.metrics(run) == ""
    assert metrics.metrics(ended(figures=Metrics(str(path)), exit=0, verb="reload")) == ""
    assert metrics.metrics(run) == ""
    found = series(path)
    assert found["gapless_run_duration_seconds", "deploy"] == 26.4
    assert found["gapless_run_longest_gap_seconds", "deploy"] == 0.27
    assert (found["gapless_runs_total", "deploy"], found["gapless_run_failures_total", "deploy"]) == (2, 2)
    assert (found["gapless_runs_total", "reload"], found["gapless_run_success", "reload"]) == (1, 1)
    assert (path.stat().st_mode & 0o777, sorted(each.name for each in tmp_path.iterdir())) == (0o644, ["gapless.prom", "gapless.prom.lock"])


def test_a_selector_may_hold_what_a_label_must_not(tmp_path):
    path = tmp_path / "gapless.prom"
    run = ended(figures=Metrics(str(path)))
    nasty = Ended(run.folder, Targets('we"b\\,!x', (), (), around=run.targets.around), run.summary)
    assert [metrics.metrics(nasty), metrics.metrics(nasty)] == ["", ""]
    [family] = [family for family in text_string_to_metric_families(path.read_text()) if family.name == "gapless_runs"]
    assert [(sample.labels["selector"], sample.value) for sample in family.samples] == [('we"b\\,!x', 2.0)]


def test_what_was_not_measured_is_no_zero(tmp_path):
    path = tmp_path / "gapless.prom"
    metrics.metrics(ended(figures=Metrics(str(path)), requests=None, seconds=None))
    assert not [name for name, _ in series(path) if "lost" in name or "duration" in name]


def test_a_run_without_figures_leaves_those_of_others(tmp_path):
    path = tmp_path / "gapless.prom"
    requests = {**SUMMARY["requests"], "lost": 3}  # type: ignore[dict-item]
    metrics.metrics(ended(figures=Metrics(str(path)), requests=requests))
    metrics.metrics(ended(figures=Metrics(str(path)), requests=None, seconds=None, verb="reload"))
    metrics.metrics(ended(figures=Metrics(str(path)), requests=None, seconds=None))
    found = series(path)
    assert found["gapless_requests_lost_total", "deploy"] == 3
    assert ("gapless_run_requests_lost", "deploy") not in found
    assert found["gapless_runs_total", "deploy"] == 2


def test_who_sits_on_the_file_holds_nobody_up(tmp_path):
    path = tmp_path / "gapless.prom"
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.monotonic()
        assert metrics.metrics(ended(figures=Metrics(str(path)))).startswith(f"note: metrics to {path}: ")
    assert time.monotonic() - begun < 5


def test_a_collector_gets_what_the_standards_own_decoder_reads(ear):
    assert metrics.metrics(ended(figures=Metrics(otlp=f"{ear.url}/v1/metrics"))) == ""
    [(path, _, body)] = ear.heard
    request = json_format.ParseDict(body, ExportMetricsServiceRequest())
    found = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    assert path == "/v1/metrics"
    assert found["gapless.run.duration"].gauge.data_points[0].as_double == 26.4
    assert (found["gapless.run.duration"].unit, found["gapless.runs"].sum.is_monotonic) == ("s", True)
    labels = {each.key: each.value.string_value for each in found["gapless.runs"].sum.data_points[0].attributes}
    assert labels == {"verb": "deploy", "selector": "prod"}


def test_a_collector_that_is_gone_and_a_file_that_cant_be_are_told(tmp_path):
    said = metrics.metrics(ended(figures=Metrics(str(tmp_path / "no/x.prom"), "http://127.0.0.1:1/v1/metrics")))
    assert said.splitlines() == [
        f"note: metrics to {tmp_path}/no/x.prom: No such file or directory", "note: metrics to http://127.0.0.1:1/v1/metrics: ConnectionError"]
