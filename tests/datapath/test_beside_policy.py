"""NetworkPolicies by the engine of kube-network-policies over our data plane, on a real kernel.

The engine's queue is filled by iptables here, since kernels without nftables' queue cannot load its own rules; those
are tried in `test_beside_policy_rules.py`. The rules here do what those do: the node's own processes pass, and so does
what is established.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_cni.diagnose.other_programs import engine_fault
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace, caller_of
from datapath.node_site import INTERNET, PORT, PRIMARY, TABLE, Site
from datapath.policy_lab import CLIENT, QUEUE, SHUT, WEB, Engine, begin, built_engine, has_queue, nobody_came, until

pytestmark = IN_EACH_MODE
RULES = (
    "-m owner --uid-owner 0 -j ACCEPT",
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    f"-j NFQUEUE --queue-num {QUEUE}",
)


@pytest.fixture(scope="module")
def engine() -> Path:
    return built_engine()


@pytest.fixture
def judged(site: Site, engine: Path, tmp_path: Path) -> Iterator[Engine]:
    running = Engine(engine, site.node, tmp_path)
    running.until_said("ready")
    for rule in RULES:
        site.node.run("iptables-nft", "-t", "mangle", "-A", "POSTROUTING", *rule.split())
    yield running
    running.kill()


async def test_a_pod_is_reached_by_whom_its_policy_names_and_by_its_node(site: Site, judged: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client, shut = [await site.machine.pod(one) for one in (WEB, CLIENT, SHUT)]
    with web.listen(WEB, PORT) as listener, web.listen(WEB, PORT + 1) as other_port:
        assert caller_of(listener, client.socket(), (WEB, PORT)) == CLIENT
        judged.until_said(f"{CLIENT} {WEB} {PORT} accept")
        assert caller_of(listener, site.node.socket(), (WEB, PORT))
        for from_pod, address, port in ((client, CLIENT, PORT + 1), (shut, SHUT, PORT)):
            with begin(from_pod, WEB, port):
                judged.until_said(f"{address} {WEB} {port} drop")
        assert nobody_came(other_port)
        assert nobody_came(listener)


async def test_a_policy_judges_the_pods_own_address_before_it_is_translated(site: Site, judged: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    client, shut = [await site.machine.pod(one) for one in (CLIENT, SHUT)]
    assert site.seen(client, INTERNET) == PRIMARY
    judged.until_said(f"{CLIENT} {INTERNET} {PORT} accept")
    with begin(shut, INTERNET, PORT):
        judged.until_said(f"{SHUT} {INTERNET} {PORT} drop")


async def test_without_the_engine_nothing_new_passes_unless_its_rule_says_so(site: Site, judged: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client = [await site.machine.pod(one) for one in (WEB, CLIENT)]
    judged.kill()
    with web.listen(WEB, PORT) as listener:
        with begin(client, WEB, PORT):
            until(lambda: queued(site.node) > 0)
            assert nobody_came(listener)
        site.node.run("iptables-nft", "-t", "mangle", "-D", "POSTROUTING", *RULES[-1].split())
        site.node.run("iptables-nft", "-t", "mangle", "-A", "POSTROUTING", *RULES[-1].split(), "--queue-bypass")
        listener.settimeout(PATIENCE_S)
        assert caller_of(listener, client.socket(), (WEB, PORT)) == CLIENT


def test_an_engine_whose_own_rules_the_kernel_refuses_goes_on_and_only_its_log_says_so(
    site: Site, engine: Path, tmp_path: Path
) -> None:
    if has_queue(site.node):
        pytest.skip("this kernel has nftables' queue")
    refused = Engine(engine, site.node, tmp_path, "-own-rules")
    try:
        refused.until(lambda: bool(engine_fault("", "\n".join(refused.said))))
        assert "no such file or directory" in engine_fault("", "\n".join(refused.said))
        assert "kube-network-policies" not in site.node.run("nft", "list", "tables"), "and nothing is enforced"
    finally:
        refused.kill()


def queued(node: Namespace) -> int:
    """Packets that the rule sent to the queue."""
    listed = node.run("iptables-nft", "-t", "mangle", "-vnL", "POSTROUTING").splitlines()
    (line,) = [one for one in listed if "NFQUEUE" in one]
    return int(line.split()[0])
