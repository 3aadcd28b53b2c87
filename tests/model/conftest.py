"""Say at the end of a run what the model was put through: a rule that never fires proves nothing."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    for statistics in [value for report in reports for key, value in report.user_properties if key == "model"]:
        terminalreporter.section("model")
        for what, count in sorted(statistics.items()):
            terminalreporter.write_line(f"{count:7}  {what}")
