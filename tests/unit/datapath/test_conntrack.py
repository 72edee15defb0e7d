"""When a full table of connections is a conflict: while packets are dropped, and a while after, whatever the counts."""

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.datapath.conntrack import LASTS_S, ConntrackUsage, DropWatch

LIMIT = 65536


def usage(dropped: int, entries: int = LIMIT) -> ConntrackUsage:
    return ConntrackUsage(entries, LIMIT, dropped)


def seen(watch: DropWatch, now: ConntrackUsage | None, *, at_s: float) -> tuple[str, ...]:
    watch.record(now, now_s=at_s)
    return tuple(conflict.message for conflict in watch.conflicts(now, now_s=at_s))


def test_what_was_dropped_before_the_first_look_is_no_conflict():
    watch = DropWatch()
    assert seen(watch, usage(900), at_s=0.0) == ()
    assert seen(watch, usage(900), at_s=10.0) == ()


def test_a_full_table_that_drops_nothing_is_no_conflict():
    watch = DropWatch()
    assert [seen(watch, usage(0), at_s=now_s) for now_s in (0.0, 10.0, 20.0)] == [()] * 3


def test_drops_are_a_conflict_that_says_the_command_and_outlives_them_a_while():
    watch = DropWatch()
    seen(watch, usage(0), at_s=0.0)
    (message,) = seen(watch, usage(7), at_s=10.0)
    assert "sysctl -w net.netfilter.nf_conntrack_max=131072" in message
    assert seen(watch, usage(7, entries=10), at_s=10.0 + LASTS_S - 1) == (message,), "the same from pass to pass"
    assert seen(watch, usage(7), at_s=10.0 + LASTS_S) == ()
    assert seen(watch, usage(8), at_s=20.0 + LASTS_S) == (message,)
    assert watch.conflicts(usage(8), now_s=20.0 + LASTS_S)[0].reason is ConflictReason.CONNTRACK_FULL


def test_a_kernel_that_tracks_nothing_any_more_has_no_conflict_and_counts_begin_where_they_were():
    watch = DropWatch()
    seen(watch, usage(0), at_s=0.0)
    assert seen(watch, usage(1), at_s=10.0) != ()
    assert seen(watch, None, at_s=20.0) == ()
    assert seen(watch, usage(1), at_s=LASTS_S + 30.0) == ()


def test_drops_beside_a_table_with_room_are_for_another_reason():
    """Two requests of one socket at once, as a resolver sends them: the kernel drops the second, and counts it so."""
    watch = DropWatch()
    seen(watch, usage(0, entries=900), at_s=0.0)
    for number in range(1, 10):
        assert seen(watch, usage(number, entries=900), at_s=60.0 * number) == ()
    assert seen(watch, usage(11, entries=LIMIT - 9000), at_s=660.0) != ()


def test_whoever_enlarged_the_table_is_not_told_to_enlarge_it_again():
    watch = DropWatch()
    seen(watch, usage(0), at_s=0.0)
    assert seen(watch, usage(5), at_s=10.0) != ()
    larger = ConntrackUsage(LIMIT + 100, 2 * LIMIT, 5)
    assert seen(watch, larger, at_s=20.0) == ()
    assert seen(watch, ConntrackUsage(2 * LIMIT, 2 * LIMIT, 6), at_s=30.0) != ()
