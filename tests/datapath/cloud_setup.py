"""What programs that set up a cloud VM's network do with the secondary addresses of its NIC, in a real kernel.

Written from what they do, without them: nm-cloud-setup of NetworkManager 1.54 (src/nm-cloud-setup/main.c), and
cloud-netconfig of SUSE with a second NIC (common/cloud-netconfig).
"""

from __future__ import annotations

from collections.abc import Iterable

from datapath.namespaces import Namespace

SUBNET, GATEWAY, PREFIX = "10.240.0.0/22", "10.240.0.1", "22"


def nm_cloud_setup(node: Namespace, addresses: Iterable[str], *, nic: str = "eth0") -> None:
    """One run: NetworkManager gets all addresses of the NIC, the primary among them, and applies what differs."""
    addresses = list(addresses)
    held = {entry["local"] for link in node.show("-4", "address", "show", "dev", nic) for entry in link["addr_info"]}
    ruled = {rule["src"] for rule in node.show("rule") if rule["priority"] == 30200}
    lines = [f"address add {one}/{PREFIX} dev {nic} noprefixroute" for one in addresses if one not in held]
    lines += [
        f"route replace {SUBNET} dev {nic} scope link metric 10 table 30200",
        f"route replace default via {GATEWAY} dev {nic} metric 10 table 30400",
    ]
    for one in addresses:
        if one not in ruled:
            lines += [f"rule add pref {number} from {one} lookup {number}" for number in (30200, 30400)]
    if not ruled:
        lines.append("rule add pref 30350 lookup main suppress_prefixlength 0")
    node.batch(*lines)


def cloud_netconfig(node: Namespace, addresses: Iterable[str], *, nic: str = "eth0") -> None:
    """One run on a VM with several NICs: a table with a copy of the main one's routes as they are now."""
    addresses = list(addresses)
    lines = [f"address replace {one}/{PREFIX} broadcast 10.240.3.255 dev {nic}" for one in addresses[1:]]
    lines += [f"route replace {SUBNET} dev {nic} table 100", f"route replace default via {GATEWAY} dev {nic} table 100"]
    lines += [f"rule add from {one} pref {10000 + number} table 100" for number, one in enumerate(addresses)]
    node.batch(*lines)
