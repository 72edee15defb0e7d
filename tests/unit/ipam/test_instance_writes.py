"""Azure's limits for instances of scale sets, as they are counted here: never more than Azure's own buckets hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.ipam.instance_writes import OF_INSTANCE, OF_SUBSCRIPTION, TokenBucket, WriteAllowance
from fakeazure.throttling import COMPUTE_UPDATE_VM, Bucket, Limit

ALLOWANCES = st.sampled_from([OF_INSTANCE, OF_SUBSCRIPTION])


def test_the_fake_counts_by_the_same_limits() -> None:
    for allowance, limit in zip((OF_INSTANCE, OF_SUBSCRIPTION), COMPUTE_UPDATE_VM, strict=True):
        assert (allowance.most, allowance.per_minute) == (limit.size, pytest.approx(limit.per_s * 60))


@given(ALLOWANCES, st.lists(st.floats(0.0, 40.0), max_size=200))
def test_a_writer_that_asks_whenever_it_may_is_never_refused(allowance: WriteAllowance, pauses_s: list[float]) -> None:
    """Azure's bucket may be any: it starts with what is left of a process that ended, a minute's worth at least."""
    now_s, ours = 0.0, TokenBucket(allowance, now_s=0.0)
    azure = Bucket(Limit(allowance.most, allowance.per_minute / 60), allowance.per_minute, 0.0)
    for pause_s in pauses_s:
        now_s += pause_s
        while not ours.wait_s(now_s):
            ours.take(now_s=now_s)
            azure.refill(now_s)
            assert azure.tokens >= 1
            azure.tokens -= 1


@given(ALLOWANCES, st.integers(0, 50))
def test_the_wait_is_as_long_as_it_says(allowance: WriteAllowance, writes: int) -> None:
    bucket = TokenBucket(allowance, now_s=100.0)
    bucket.take(writes, now_s=100.0)
    wait_s = bucket.wait_s(100.0)
    assert bucket.wait_s(100.0 + wait_s + 1e-6) == 0
    assert wait_s == 0 or bucket.wait_s(100.0 + 0.99 * wait_s) > 0


def test_a_bucket_fills_up_to_what_azure_takes_at_once_and_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(OF_INSTANCE, now_s=100.0)
    assert (bucket.left(0.0), bucket.left(100.0)) == (bucket.per_minute, bucket.per_minute)
    assert bucket.left(1e6) == bucket.capacity == 11
