"""One rule for which version of an object is the newer one."""

from __future__ import annotations

import pytest

from azure_cni.api.reading import Version, is_newer, version


@pytest.mark.parametrize(
    ("one", "than", "newer"),
    [
        (Version("a", "10"), Version("a", "9"), True),
        (Version("a", "9"), Version("a", "10"), False),
        (Version("a", "9"), Version("a", "9"), False),
        (Version("b", "8"), Version("a", "9"), True),
        (Version("a", "v9"), Version("a", "10"), True),
        (Version("a", ""), Version("a", "10"), True),
    ],
)
def test_numbers_decide_and_another_object_is_always_newer(one: Version, than: Version, *, newer: bool) -> None:
    assert is_newer(one, than=than) is newer


def test_an_object_without_metadata_has_no_version() -> None:
    assert version({"metadata": {"uid": "u", "resourceVersion": "7"}}) == Version("u", "7")
    assert version({}) == Version("", "")
