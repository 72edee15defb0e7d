"""A `Faults` for tests that expect no unforeseen exception."""

from azure_cni.faults import Faults


def _unexpected(activity: str) -> None:
    raise AssertionError(f"an unforeseen exception in {activity}")


NO_FAULTS = Faults(_unexpected)
"""Any such exception fails the test."""
