"""What of many changes of attachments goes into one write of the NIC: as much as its document can say."""

from __future__ import annotations

from azure_cni.ipam.attachment_plan import in_one_write
from azure_cni.model.attachments import LONGEST_LIST, MOST_CHANGED, MOST_LISTED, AttachedResource
from azure_cni.model.nic import AttachmentChange, ConfigName


def public_ip(number: int, group: str = "g") -> AttachedResource:
    network = f"/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Network"
    found = AttachedResource.parse(f"{network}/publicIPAddresses/{number:06d}")
    assert found is not None
    return found


def gains(number: int, *resources: AttachedResource) -> AttachmentChange:
    return AttachmentChange(ConfigName(f"azure-cni-{number:08d}"), add=frozenset(resources))


def loses(number: int, *resources: AttachedResource) -> AttachmentChange:
    return AttachmentChange(ConfigName(f"azure-cni-{number:08d}"), remove=frozenset(resources))


def test_all_goes_into_one_write_where_there_is_room() -> None:
    found = tuple(gains(number, public_ip(number)) for number in range(250))
    assert in_one_write(found) == found


def test_a_resource_in_many_changes_counts_once() -> None:
    found = tuple(gains(number, *map(public_ip, range(8))) for number in range(256))
    assert in_one_write(found) == found


def test_what_is_removed_goes_first() -> None:
    """The next pod on an address waits for it."""
    found = (*(gains(n, public_ip(n)) for n in range(MOST_LISTED)), *(loses(n, public_ip(5000 + n)) for n in range(24)))
    told = in_one_write(found)
    assert told[-24:] == found[-24:]
    assert len(told) == MOST_LISTED


def test_ids_have_a_length_together() -> None:
    group = "g" * 90
    found = tuple(gains(number, public_ip(number, group)) for number in range(MOST_LISTED))
    told = in_one_write(found)
    assert 0 < len(told) < len(found)
    assert LONGEST_LIST - 512 < sum(len(one.id) for change in told for one in change.add) <= LONGEST_LIST


def test_writes_one_after_the_other_say_all_of_it() -> None:
    left = {n: set(map(public_ip, range(3 * n, 3 * n + MOST_CHANGED + 8))) for n in range(600)}
    for _ in range(8):
        for change in in_one_write(tuple(gains(n, *wanted) for n, wanted in left.items())):
            assert len(change.add) <= MOST_CHANGED
            left[int(change.config.removeprefix("azure-cni-"))] -= change.add
    assert not any(left.values())
