"""Policy routing: the one rule that keeps pods reachable whoever adds others, and who has added some that catch pods.

Programs that set up a cloud VM's network (NetworkManager's nm-cloud-setup on RHEL, cloud-netconfig on SUSE) take every
secondary address of the NIC for the node's own and send what comes *from* it by a table that knows the NIC and no
pod: `30200: from 10.240.0.7 lookup 30200`, with the subnet's route by eth0. All rules precede the main table, where the
routes to pods are. So what the node or a pod of this node sends to a pod of this node leaves by eth0 and is lost.

Our rule stands in front of them: `90: from all lookup main suppress_prefixlength 31 suppress_ifgroup default`. It takes
from the main table only routes to a single address (longer than 31) by a link that is in a group other than the default
one. Host ends of pods are in GROUP; no other program's links are in a group unless somebody put them there. So the
rule decides about packets to pods of this node, which have no other right way, and about nothing else: not about the
default route, and not about the host routes by eth0 that Azure's DHCP hands out (168.63.129.16/32), which the rules of
a second NIC must overrule for a load balancer's probes to be answered.

Where pods have IPv6 addresses, the same rule stands among those of IPv6 (`suppress_prefixlength 127`).

The price: where a node has any rule of its own, the kernel asks local, main, and main once more for what is not for a
pod, instead of one table that holds both.

What was not chosen, and why:
- a rule for each pod, `to POD lookup main` (as the AWS plugin has it): 250 rules, which the kernel walks one by one for
  each packet, and one more request in every ADD. The group costs an ADD nothing: it is an attribute of the veth's own
  creation.
- a table of our own for the routes to pods: exact as well, but one `ip rule flush` would cut all pods off, because
  nothing looks into that table then. Here routes stay in the main table, and nothing depends on the rule where nobody
  else has any.
- the main table as a whole before all others (`suppress_prefixlength 0`): that overrules what people set up for a VPN
  or a second NIC.

What pods send to the world is left to the rules of others: nm-cloud-setup's send it by the NIC, as it must be, and who
sends it elsewhere may mean it. `foreign` reports them all, because only a person can decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.interface import ANYWHERE, ANYWHERE_IPV6, IPV4, Network
from azure_cni.datapath.names import GROUP
from azure_cni.model.nic import Address

PREFERENCE = 90
"""Behind what Cilium puts first for its proxy (9 to 20), before all else that is known to add rules: Calico's WireGuard
99, Cilium's own 100 to 111, strongSwan 220, the AWS plugin 512 to 1536, VRFs 1000, Tailscale 5210, SUSE's
cloud-netconfig 10000, nm-cloud-setup 30200, wg-quick 32764."""

LOCAL, MAIN, DEFAULT = 255, 254, 253
"""The kernel's own tables (linux/rtnetlink.h)."""

_CLOUD_SETUP = (range(30200, 30300), range(30400, 30500))
"""nm-cloud-setup numbers rule and table alike, by the NIC's index (NetworkManager, src/nm-cloud-setup/main.c)."""

_NETCONFIG = range(10000, 10999)
"""cloud-netconfig: a hundred rules for each table 100 to 109 (SUSE-Enceladus, common/cloud-netconfig)."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule; source and destination are of one family. `table` 0: it refuses. `narrowed`: it asks for more than
    addresses: a mark, a link, ports.

    `mark`: a packet's under the mask has to be this one; (0, 0) where it is not asked for.
    """

    preference: int
    table: int
    source: Network = ANYWHERE
    destination: Network = ANYWHERE
    suppress_prefix_length: int | None = None
    suppress_group: int | None = None
    narrowed: bool = False
    mark: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        """As `ip rule` shows it, as far as it is known here."""
        words = [f"{self.preference}: from {_prefix(self.source)}"]
        words += [f"to {_prefix(self.destination)}"] if self.destination.prefixlen else []
        words += [f"fwmark {self.mark[0]:#x}/{self.mark[1]:#x}"] if self.mark != (0, 0) else []
        words += [f"lookup {_TABLES.get(self.table, self.table)}"] if self.table else ["refuse"]
        words += [f"suppress_prefixlength {self.suppress_prefix_length}"] if self.suppress_prefix_length else []
        words += ["suppress_ifgroup default"] if self.suppress_group == 0 else []
        return " ".join(words)


_TABLES = {LOCAL: "local", MAIN: "main", DEFAULT: "default"}

OURS: Final = PolicyRule(PREFERENCE, MAIN, suppress_prefix_length=31, suppress_group=0)
OURS_IPV6: Final = PolicyRule(
    PREFERENCE, MAIN, source=ANYWHERE_IPV6, destination=ANYWHERE_IPV6, suppress_prefix_length=127, suppress_group=0
)


def absence(rules: Collection[PolicyRule]) -> str:
    """What to say where our rule is not among `rules`; "" where it is."""
    return "" if OURS in rules else f"policy rule {OURS} was missing"


def absence_ipv6(rules: Collection[PolicyRule]) -> str:
    """The same of IPv6."""
    return "" if OURS_IPV6 in rules else f"policy rule {OURS_IPV6} of IPv6 was missing"


def diversions(rules: Collection[PolicyRule], addresses: Collection[Address]) -> tuple[str, ...]:
    """What keeps packets from a pod's addresses, as words: our rule is missing, or another one that comes before it.

    `rules` are those of each family that the addresses are of.
    """
    dual = any(address.version != IPV4 for address in addresses)
    missing = [words for words in (absence(rules), absence_ipv6(rules) if dual else "") if words]
    before = sorted(str(rule) for rule in rules if _is_before(rule) and _catches(rule, addresses))
    return (*missing, *(f"policy rule {rule} comes before rule {PREFERENCE}" for rule in before))


def ungrouped(groups: Iterable[tuple[str, int]], *, leaving: int) -> tuple[str, ...]:
    """Host ends of pods that are not in GROUP, by name; `leaving` is the group of those that are disabled."""
    return tuple(sorted(name for name, group in groups if group not in {GROUP, leaving}))


def foreign(rules: Iterable[PolicyRule], pool: Collection[Address]) -> tuple[Conflict, ...]:
    """The conflict with rules of others that catch addresses of the pool, or with the kernel's own being gone.

    Rules that ask for a mark, a link or a port are left out: which packets they match is not visible here, and whoever
    marks packets has a reason. So are rules without a source, which are made for the whole node (a VPN's): `from all`.
    """
    rules = list(rules)
    caught = [rule for rule in rules if _catches(rule, pool)]
    nobody = [] if any(map(_asks_main, rules)) else [(_NOBODY_ASKS_MAIN, _ASK_MAIN)]
    found = [*nobody, *_sentences(caught)]
    if not found:
        return ()
    words, commands = zip(*found, strict=True)
    return (Conflict(ConflictReason.FOREIGN_POLICY_RULES, "; ".join(words), "; ".join(commands)),)


def culprit(rules: Iterable[PolicyRule], pool: Collection[Address]) -> str:
    """Who puts the pool's addresses on the NIC's interface, and the command that ends it, judged by its rules."""
    caught = [rule for rule in rules if _catches(rule, pool)]
    if any(map(_is_cloud_setup, caught)):
        return f"nm-cloud-setup puts them there; {_END_CLOUD_SETUP}"
    if any(map(_is_netconfig, caught)):
        return f"cloud-netconfig puts them there; {_END_NETCONFIG}"
    return (
        "cloud-init puts them there (set apply_network_config_for_secondary_ips to false), or cloud-netconfig on SUSE "
        f"({_END_NETCONFIG})"
    )


_DISABLE_CLOUD_SETUP = "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service"
_DISABLE_NETCONFIG = "sed -i \"s/^CLOUD_NETCONFIG_MANAGE=.*/CLOUD_NETCONFIG_MANAGE='no'/\" /etc/default/cloud-netconfig"
_ASK_MAIN = "ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default"
_END_CLOUD_SETUP = f"run: {_DISABLE_CLOUD_SETUP}"
_END_NETCONFIG = "set CLOUD_NETCONFIG_MANAGE='no' in /etc/default/cloud-netconfig"


_NOBODY_ASKS_MAIN = (
    "no policy rule asks the main table: somebody ran 'ip rule flush', and the node and its pods reach nobody beyond "
    f"this node; run: {_ASK_MAIN}"
)


def _asks_main(rule: PolicyRule) -> bool:
    """For its default route too; by whatever preference, or for some packets only: then somebody has arranged it so."""
    return rule.table == MAIN and rule.suppress_prefix_length is None


def _sentences(caught: Sequence[PolicyRule]) -> list[tuple[str, str]]:
    """One sentence for each program, without counts that change with the pool, and the command that ends it."""
    cloud_setup = [rule for rule in caught if _is_cloud_setup(rule)]
    netconfig = [rule for rule in caught if _is_netconfig(rule)]
    others = sorted({rule for rule in caught if not _is_cloud_setup(rule) and not _is_netconfig(rule)}, key=str)
    words = []
    if cloud_setup:
        words.append((f"{_taken('nm-cloud-setup', cloud_setup)} {_END_CLOUD_SETUP}; then reboot", _DISABLE_CLOUD_SETUP))
    if netconfig:
        words.append((f"{_taken('cloud-netconfig', netconfig)} {_END_NETCONFIG}; then reboot", _DISABLE_NETCONFIG))
    if others:
        reach = "Pods of this node and the node reach each other"
        if any(map(_is_before, others)):
            reach = f"They come before azure-cni's rule {PREFERENCE}, so pods of this node are cut off from it"
        named = ", ".join(f"'{rule}'" for rule in others[:_NAMED])
        more = " and more" if len(others) > _NAMED else ""
        command = "; ".join(f"ip rule del pref {rule.preference}" for rule in others[:_NAMED])
        sentence = (
            f"policy rules of another program divert packets of pods: {named}{more}. {reach}; what pods send elsewhere "
            f"goes where these rules say, and Azure carries it only by the NIC. "
            f"See: ip rule show, ip route show table TABLE; remove them with: {command}"
        )
        words.append((sentence, command))
    return words


def _taken(program: str, rules: Iterable[PolicyRule]) -> str:
    numbers = ", ".join(map(str, sorted({rule.preference for rule in rules})[:_NAMED]))
    return (
        f"{program} treats pods' addresses as the node's own (policy rules {numbers}); azure-cni's rule {PREFERENCE} "
        f"keeps pods reachable, but {program} also puts their addresses on the NIC's interface, where they cut pods "
        f"off until the agent removes them;"
    )


def _catches(rule: PolicyRule, pool: Collection[Address]) -> bool:
    if rule.narrowed or rule.table in {LOCAL, MAIN, DEFAULT}:
        return False
    if rule.source.prefixlen and _any_in(rule.source, pool):
        return True
    return bool(rule.destination.prefixlen) and _is_before(rule) and _any_in(rule.destination, pool)


def _is_before(rule: PolicyRule) -> bool:
    return rule.preference <= PREFERENCE


def _any_in(network: Network, pool: Collection[Address]) -> bool:
    if network.prefixlen == network.max_prefixlen:
        return network.network_address in pool  # a set: there may be 500 rules for 250 addresses
    return any(address in network for address in pool)


def _is_cloud_setup(rule: PolicyRule) -> bool:
    return rule.preference == rule.table and any(rule.preference in numbers for numbers in _CLOUD_SETUP)


def _is_netconfig(rule: PolicyRule) -> bool:
    return rule.preference in _NETCONFIG and rule.preference // 100 == rule.table


def _prefix(network: Network) -> str:
    if not network.prefixlen:
        return "all"
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
