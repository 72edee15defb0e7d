import pytest

from azure_cni.errors import ConfigInvalid
from azure_cni.ipam.sizing import Policy, override, target

DEFAULT = Policy()
SMALL = Policy(min_free=0, max_free=3, batch=1)


@pytest.mark.parametrize(
    ("policy", "assigned", "waiting", "cooling", "expected"),
    [
        (DEFAULT, 0, 0, 0, 16),  # an empty node holds one batch
        (DEFAULT, 8, 0, 0, 16),  # minFree of 8 is just there
        (DEFAULT, 9, 0, 0, 32),
        (DEFAULT, 4, 4, 0, 16),
        (DEFAULT, 4, 5, 0, 32),  # who waits is needed as much as who has
        (DEFAULT, 4, 0, 5, 32),  # and what cools is of no use now
        (DEFAULT, 0, 250, 0, 250),  # 258 would be 272
        (DEFAULT, 232, 0, 0, 240),
        (DEFAULT, 233, 0, 0, 250),
        (DEFAULT, 250, 50, 40, 250),
        (Policy(maximum=10), 0, 0, 0, 10),  # max is stronger than batch
        (Policy(maximum=10), 10, 3, 0, 10),
        (SMALL, 0, 0, 0, 1),  # never nothing
        (SMALL, 7, 1, 2, 10),
        (Policy(min_free=5, max_free=20, batch=10), 5, 0, 0, 10),
        (Policy(min_free=5, max_free=20, batch=10), 6, 0, 0, 20),
        (Policy(size=32), 0, 0, 0, 32),
        (Policy(size=32), 40, 9, 9, 32),
        (Policy(size=32, maximum=20), 0, 0, 0, 20),
    ],
)
def test_target(policy, assigned, waiting, cooling, expected):
    assert target(policy, assigned=assigned, waiting=waiting, cooling=cooling) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"maximum": 300}, "max 300: it must be between 1 and 250"),
        ({"maximum": 0}, "max 0"),
        ({"min_free": -1}, "minFree -1: it must be between 0 and 250"),
        ({"batch": 0}, "batch 0: it must be between 1 and 250"),
        ({"size": 0}, "size 0: it must be between 1 and 250"),
        ({"batch": True}, "batch True: it must be a whole number"),
        ({"max_free": 2.5}, "maxFree 2.5: it must be a whole number"),
        ({"max_free": 23}, r"maxFree 23: it must be at least minFree \+ batch \(8 \+ 16\)"),
        ({"size": 32, "min_free": 4}, "size 32 with minFree 4, maxFree 24, batch 16: a fixed size excludes"),
        ({"blocks": 27}, "blocks 27: Azure puts blocks of 16 addresses on a NIC, which is 28, and no others"),
        (
            {"blocks": 28, "batch": 8},
            "batch 8 with blocks 28: a block has 16 addresses, so it must be a multiple",
        ),
        ({"blocks": 28, "size": 100}, "size 100 with blocks 28: a block has 16 addresses"),
        ({"blocks": 28, "maximum": 15}, "max 15 with blocks 28: a block has 16 addresses, so it must be at least 16"),
    ],
)
def test_a_policy_that_breaks_a_rule_says_which(fields, words):
    with pytest.raises(ConfigInvalid, match=words):
        Policy(**fields)


@pytest.mark.parametrize(
    ("default", "overrides", "outcome"),
    [
        (DEFAULT, {}, DEFAULT),
        (DEFAULT, {"min_free": 4, "paused": True}, Policy(min_free=4, paused=True)),
        (Policy(min_free=2, maximum=99), {"size": 32}, Policy(size=32, maximum=99)),
        (Policy(size=32), {"batch": 8}, Policy(batch=8)),
        (Policy(size=32), {"maximum": 20}, Policy(size=32, maximum=20)),
    ],
)
def test_a_pool_overrides_the_default(default, overrides, outcome):
    assert override(default, overrides) == outcome


def test_a_pool_cannot_say_both():
    with pytest.raises(ConfigInvalid, match="size 32 with batch 16, minFree 8"):
        override(DEFAULT, {"size": 32, "min_free": 8, "batch": 16})


def test_an_override_that_breaks_a_rule_is_refused():
    with pytest.raises(ConfigInvalid, match="maxFree 10"):
        override(DEFAULT, {"max_free": 10})
