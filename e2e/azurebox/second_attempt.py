"""A second attempt for the few tests that a busy machine may have failed: what passes only then is named.

Where a kernel, servers and time take part, so does chance. When at most FEW tests failed, the run ends with
FEW_FAILED, and its caller (make) repeats those alone by pytest's --last-failed.
"""

from __future__ import annotations

import pytest

FEW = 3
"""More failures than this are no accident."""

FEW_FAILED = 75
"""The exit status then (EX_TEMPFAIL)."""


class SecondAttempt:
    """A plugin of pytest. All tests of a file for which a fixture fails count as one: they have one cause."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid.partition("::")[0] if report.when == "setup" else report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.TESTS_FAILED and len(self._failed) <= FEW and not session.config.option.lf:
            session.exitstatus = FEW_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if config.option.lf:
            terminalreporter.section("passed at the second attempt only: why the first one failed is printed above")
            for report in terminalreporter.stats.get("passed", []):
                terminalreporter.line(report.nodeid)
