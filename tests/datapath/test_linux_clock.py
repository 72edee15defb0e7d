"""The kernel's clocks, against what the kernel says elsewhere."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure_cni.linux.clock import SystemClock


def test_boot_time_is_the_kernels_uptime_and_does_not_go_back() -> None:
    clock = SystemClock()
    before = clock.boottime_s()
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    after = clock.boottime_s()
    assert before - 0.01 <= uptime_s <= after  # the file has hundredths


def test_utc_is_rfc_3339_in_whole_seconds() -> None:
    reported = datetime.strptime(SystemClock().utc(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - reported < timedelta(minutes=1)
