"""When a repair has become a state of the host."""

import shlex
from ipaddress import IPv4Address

from azure_cni.datapath.conflicts import WITHIN_S, ConflictReason, Recurrences, address_elsewhere

OFF, TABLE = "sysctl net.ipv4.ip_forward was 0: set to 1", "nftables table inet azure_cni was missing: made"


def test_the_third_time_is_a_conflict_that_reads_the_same_from_then_on() -> None:
    recurrences = Recurrences()
    seen = []
    for now_s in (0, 60, 120, 180):
        recurrences.record([OFF], now_s=now_s)
        seen.append(recurrences.conflicts(now_s=now_s))
    assert seen[:2] == [(), ()]
    assert seen[2] == seen[3]
    ((conflict,),) = {seen[3]}
    assert conflict.reason is ConflictReason.REPAIRS_UNDONE
    assert OFF in conflict.message


def test_an_interface_of_any_name_is_one_word_of_the_command() -> None:
    address = IPv4Address("10.240.0.7")
    (found,) = address_elsewhere([("a;reboot", address)], [address])
    assert shlex.split(found.command) == ["ip", "address", "delete", str(address), "dev", "a;reboot"]


def test_other_repairs_are_none() -> None:
    recurrences = Recurrences()
    for now_s in (0, 60, 120):
        recurrences.record([OFF], now_s=now_s)
    recurrences.record([TABLE], now_s=130)
    assert recurrences.is_usual(OFF, now_s=130)
    assert not recurrences.is_usual(TABLE, now_s=130)


def test_it_ends_when_nobody_has_done_it_for_long_and_what_is_seldom_is_none() -> None:
    recurrences = Recurrences()
    for now_s in (0, 60, 120):
        recurrences.record([OFF], now_s=now_s)
    assert recurrences.conflicts(now_s=120 + WITHIN_S - 1)
    assert not recurrences.conflicts(now_s=120 + WITHIN_S)
    for number in range(10):
        recurrences.record([TABLE], now_s=10_000 + number * WITHIN_S)
        assert not recurrences.is_usual(TABLE, now_s=10_000 + number * WITHIN_S)
