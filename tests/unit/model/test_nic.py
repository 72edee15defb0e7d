"""A NIC as one read shows it: what counts as held, and what Azure's limit counts."""

from dataclasses import replace

from azure_cni.model.nic import MAX_CONFIGS_PER_NIC, ConfigName, ExcludedConfiguration, IPConfiguration
from unit.ipam.views import PRIMARY, address, adopted, block, view

UNCHOSEN = IPConfiguration(ConfigName("azure-cni-0000000x"), None, primary=False, ready=False)


def test_addresses_are_held_and_configurations_are_limited():
    nic = view([1, adopted(2), block(16), UNCHOSEN])
    assert nic.held == 1 + 1 + 16 + 1
    assert nic.addresses == {address(1), address(2), *(address(16 + n) for n in range(16))}
    assert nic.config_count == 5
    assert nic.most() == nic.held + MAX_CONFIGS_PER_NIC - 5


def test_what_no_pod_gets_is_not_held_but_takes_up_room():
    nic = view([1])
    crowded = replace(nic, excluded=(ExcludedConfiguration("block", None, "is a block of addresses"),))
    assert (crowded.held, crowded.config_count, crowded.most()) == (nic.held, nic.config_count + 1, nic.most() - 1)


def test_the_primary_serves_no_pod():
    assert PRIMARY.address not in view().addresses
    assert view().held == 0


def test_blocks_are_one_configuration_each_for_azures_limit():
    nic = view([1, block(16)])
    assert (nic.held, nic.config_count) == (17, 3)
    assert nic.most(size=16) == 17 + 16 * (MAX_CONFIGS_PER_NIC - 3)
