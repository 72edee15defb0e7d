"""Filters of others in a real kernel: the ones that drop pods' traffic are named, and only they."""

from __future__ import annotations

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.filter_survey import FilterSurvey
from azure_cni.linux.worker import Worker
from datapath.namespaces import NEEDS_ROOT, PATIENCE_S, SILENCE_S
from datapath.node_site import PEER, PRIMARY, TABLE, A, Site

pytestmark = NEEDS_ROOT

DOCKER = """
    iptables-nft -P FORWARD DROP
    iptables-nft -N DOCKER-USER
    iptables-nft -A DOCKER-USER -j RETURN
    iptables-nft -A FORWARD -j DOCKER-USER
    iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables-nft -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
"""
KUBE_PROXY = """
    iptables-nft -N KUBE-FORWARD
    iptables-nft -N KUBE-SERVICES
    iptables-nft -I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
    iptables-nft -I FORWARD -m conntrack --ctstate NEW -m comment --comment "service portals" -j KUBE-SERVICES
    iptables-nft -A KUBE-SERVICES -d 10.96.0.9/32 -p tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
    iptables-nft -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
    iptables-nft -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
    iptables-nft -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
FIREWALLD = """table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname "lo" accept
        ip6 daddr { ::/96, ::ffff:0.0.0.0/96 } reject with icmpv6 type addr-unreachable
        jump filter_FORWARD_ZONES
        ct state invalid drop
        reject with icmpx type admin-prohibited
    }
    chain filter_FORWARD_ZONES {
        iifname "eth0" goto filter_FWD_public
        goto filter_FWD_public
    }
    chain filter_FWD_public {
        meta l4proto { icmp, ipv6-icmp } accept
        ip saddr 192.0.2.0/24 goto filter_FWD_trusted
        iifname "eth7" oifname "eth0" accept
    }
    chain filter_FWD_trusted {
        accept
    }
}"""


async def filter_conflict(site: Site) -> str:
    """The message of the conflict as an agent that starts now finds it; empty where there is none."""
    datapath = LinuxDatapath(node_netns=site.node.path)
    report = await datapath.apply_node(TABLE)
    await datapath.close()
    found = {conflict.reason: conflict.message for conflict in report.conflicts}
    return found.get(ConflictReason.FOREIGN_FILTER, "")


async def talks(site: Site, *, within_s: float = PATIENCE_S) -> bool:
    pod = site.machine.pods.get(A) or await site.machine.pod(A)
    with site.outside.listen(PEER, 8080), pod.socket() as client:
        client.settimeout(within_s)
        return client.connect_ex((PEER, 8080)) == 0


@pytest.mark.parametrize("libraries", [True, False], ids=["with iptables", "without its libraries"])
@pytest.mark.parametrize("rules", [DOCKER, DOCKER + KUBE_PROXY], ids=["alone", "beside kube-proxy"])
async def test_dockers_policy_is_named_with_the_command_that_ends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, rules: str, *, libraries: bool
) -> None:
    """Also by an nft in a container, where nothing is of iptables."""
    site.node.run("sh", "-ec", rules)
    if not libraries:
        monkeypatch.setenv("XTABLES_LIBDIR", "/nowhere")
    message = await filter_conflict(site)
    assert not await talks(site, within_s=SILENCE_S)
    assert "nftables chain ip filter FORWARD (policy drop) drops" in message
    assert "what pods send to other nodes and what pods are sent from other nodes" in message
    assert "iptables -P FORWARD ACCEPT" in message
    monkeypatch.undo()
    site.node.run("iptables-nft", "-P", "FORWARD", "ACCEPT")
    assert await filter_conflict(site) == ""
    assert await talks(site)


async def test_a_comment_that_is_not_utf8_hides_no_filter(site: Site) -> None:
    named = """nft add rule ip filter FORWARD ip saddr 192.0.2.1 accept comment "\\"$(printf 'caf\\351')\\"" """
    site.node.run("sh", "-ec", f"{DOCKER}{named}")
    assert "(policy drop) drops" in await filter_conflict(site)


async def test_who_accepts_pods_before_the_policy_is_not_blamed(site: Site) -> None:
    site.node.run("sh", "-ec", f"{DOCKER}iptables-nft -I DOCKER-USER -i acni+ -j ACCEPT")
    assert "what pods send" not in await filter_conflict(site)
    site.node.run("sh", "-ec", "iptables-nft -I DOCKER-USER -o acni+ -j ACCEPT")
    assert await filter_conflict(site) == ""
    assert await talks(site)


async def test_firewalld_is_named(site: Site) -> None:
    site.node.run("nft", "-f", "-", stdin=FIREWALLD)
    message = await filter_conflict(site)
    assert not await talks(site, within_s=SILENCE_S)
    assert "nftables chain inet firewalld filter_FORWARD (its rules) drops what pods send" in message
    assert "systemctl disable --now firewalld" in message


async def test_firewalld_that_trusts_the_pool_is_not(site: Site) -> None:
    trusting = FIREWALLD.replace("192.0.2.0/24", "10.240.0.0/16")
    site.node.run("nft", "-f", "-", stdin=trusting)
    assert await filter_conflict(site) == ""
    assert await talks(site)


@pytest.mark.parametrize(
    "rules",
    [
        "ct state vmap { established : accept, new : drop }",
        "ip saddr @trusted accept; drop",
        "limit rate 10/second accept; drop",
        "tcp dport { 25, 445 } reject; udp dport 53 drop",
        f"ip saddr != {PRIMARY}/16 drop",
        "iifname docker0 drop; ct state invalid drop; meta mark & 0xf000 == 0x4000 drop",
    ],
)
async def test_what_may_let_pods_pass_or_does_is_not_blamed(site: Site, rules: str) -> None:
    lines = "\n".join(rules.split("; "))
    script = f"""table inet other {{
        set trusted {{ type ipv4_addr; elements = {{ 192.0.2.1 }} }}
        chain watch {{ type filter hook forward priority filter; policy accept;
            {lines}
        }}
    }}"""
    site.node.run("nft", "-f", "-", stdin=script)
    assert await filter_conflict(site) == ""


async def test_a_chain_of_somebody_else_is_named_with_rules_that_let_pods_pass(site: Site) -> None:
    script = "table inet hardening {\nchain passing {\ntype filter hook forward priority 5; policy drop;\n}\n}"
    site.node.run("nft", "-f", "-", stdin=script)
    message = await filter_conflict(site)
    for command in ("iifname", "oifname"):
        assert f"nft insert rule inet hardening passing {command} 'acni*' accept" in message
        site.node.run("sh", "-c", f"nft insert rule inet hardening passing {command} 'acni*' accept")
    assert await filter_conflict(site) == ""
    assert await talks(site)


class Looking(FilterSurvey):
    """Looks each time that it is asked."""

    def __init__(self) -> None:
        super().__init__(period_s=0.0)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("made", "flushed"),
    [
        ("iptables-nft -t nat -N CNI-HOSTPORT-DNAT", "nft flush ruleset"),
        (
            "nft add table inet cni_hostport; nft add chain inet cni_hostport hostports",
            "nft delete table inet cni_hostport",
        ),
    ],
    ids=["iptables", "nftables"],
)
async def test_rules_of_host_ports_that_were_flushed_are_said_once(
    site: Site, caplog: pytest.LogCaptureFixture, made: str, flushed: str
) -> None:
    worker = Worker(Looking, name="survey", node_netns=site.node.path)

    async def said() -> int:
        await worker.run(lambda survey: survey.conflicts(TABLE, uplink="eth0"))
        return len([record for record in caplog.records if "rules of hostPorts are gone" in record.message])

    counts = [await said()]
    site.node.run("sh", "-ec", made)
    counts.append(await said())
    site.node.run("sh", "-ec", flushed)
    counts += [await said(), await said()]
    worker.close()
    assert counts == [0, 0, 1, 1]
