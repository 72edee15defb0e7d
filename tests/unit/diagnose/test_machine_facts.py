"""Where a role that Azure lists for a resource group counts."""

from __future__ import annotations

import pytest

from azure_cni.diagnose.machine_facts import GrantFacts, RoleFacts

GROUP = "/subscriptions/s/resourceGroups/g"
NIC = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/nic"
READ = "Microsoft.Network/networkInterfaces/read"


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ("/", True),
        ("/providers/Microsoft.Management/managementGroups/all", True),  # Azure lists those above the group only
        ("/subscriptions/S", True),
        (GROUP.upper(), True),
        (NIC, True),
        (f"{NIC}2", False),
        ("/subscriptions/s/resourceGroups/g2", False),
        (f"{GROUP}/providers/Microsoft.Network/networkInterfaces/ni", False),
        ("", False),
    ],
)
def test_a_role_counts_at_its_scope_and_below(scope: str, *, counts: bool):
    role = RoleFacts(((("Microsoft.Network/*",), ()),))
    assert GrantFacts(scope, role).allows(READ, at=NIC) is counts
