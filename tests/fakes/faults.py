"""The last guard where a test expects it to have nothing to do."""

from azure_cni.faults import Faults


def _unexpected(activity: str) -> None:
    raise AssertionError(f"an exception that nobody foresaw, in {activity}")


NO_FAULTS = Faults(_unexpected)
"""A fault fails the test, by what it was caused by."""
