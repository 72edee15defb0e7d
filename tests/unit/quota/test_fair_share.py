"""How what there is gets shared."""

from __future__ import annotations

from azure_cni.quota.fair_share import ShareRequest, fair_shares


def test_what_cannot_be_shared_evenly_goes_to_the_first_that_have_no_more_than_others():
    requests = [ShareRequest(0, 32, 32)] * 3

    assert fair_shares(requests, 92) == [31, 31, 30]


def test_who_holds_more_than_an_even_share_is_given_nothing_of_what_is_left_over():
    """Found at full size: a node that was served first got one address more in each round, for a grant each."""
    requests = [ShareRequest(25, 32, 32), ShareRequest(0, 32, 32), ShareRequest(0, 32, 32)]

    assert fair_shares(requests, 66) == [25, 21, 20]


def test_what_is_left_over_is_given_out_whole():
    requests = [ShareRequest(granted, 32, 32) for granted in (31, 24, 0, 0, 25)]

    assert sum(fair_shares(requests, 125)) == 125


def test_what_is_left_over_goes_first_to_those_that_have_nothing():
    """To raise a node that was answered costs one more write of its NIC; the answer to the others is to come anyway."""
    requests = [ShareRequest(24, 32, 32), ShareRequest(24, 32, 32), ShareRequest(0, 32, 32)]

    assert fair_shares(requests, 73) == [24, 24, 25]
