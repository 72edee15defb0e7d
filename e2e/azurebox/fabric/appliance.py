"""A network virtual appliance: a VM that forwards what it gets and remembers who spoke to whom through it.

Azure gives such a VM frames for other addresses once its NIC has IP forwarding; the VM's own kernel must forward, too.
"""

import json
from ipaddress import IPv4Address

from azurebox.fabric import kernel
from azurebox.steps import capture

SYSCTLS = {
    "ipv4/ip_forward": "1",
    # It sends back by the interface that a frame came from, and must not advertise a shorter way to the sender.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/eth0/send_redirects": "0",
}
TABLE, PAIRS = "appliance", "spoken"
RULES = f"""
add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
set {PAIRS} {{
type ipv4_addr . ipv4_addr
flags dynamic
size 65535
}}
chain forward {{
type filter hook forward priority filter
add @{PAIRS} {{ ip saddr . ip daddr }}
}}
}}
"""


def become_appliance(namespace: str) -> None:
    """Let a VM with an `eth0` forward; what it remembered is forgotten."""
    kernel.set_sysctls(namespace, SYSCTLS)
    kernel.load_rules(namespace, RULES)


def spoken_through(namespace: str) -> set[tuple[IPv4Address, IPv4Address]]:
    """Who spoke to whom through an appliance: (source, destination) of what it forwarded."""
    command = ["nsenter", f"--net={kernel.NAMESPACES / namespace}", "nft", "--json", "list", "set", "ip", TABLE, PAIRS]
    listing = json.loads(capture(command, what=f"read what went through {namespace}"))["nftables"]
    elements = next(item["set"] for item in listing if "set" in item).get("elem", [])
    return {(IPv4Address(one), IPv4Address(other)) for one, other in (element["concat"] for element in elements)}
