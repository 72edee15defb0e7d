"""What a pod can be in the VNet beside an address: behind a load balancer, and on the internet. All of it is undone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address

from azurebox.client import Box
from azurebox.demo.guide import Guide
from azurebox.demo.paper import pick
from azurebox.demo.workload import PORT, Pod
from azurebox.fabric.topology import INTERNET_HOST, ONPREM, Place
from azurebox.facts import PREFIX
from azurebox.steps import StepError

NAME = "demo"
SUBNET = "nodes"
MEMBERS_PER_NODE = 2
CALLS = 12  # that all of these go to one node by luck happens once in 2,000 times
SETTLED_WITHIN_S = 15.0  # a NIC write, and the probe after it
LOOP = "for i in $(seq {calls}); do busybox wget -qO- http://{target}/hostname; echo; done | sort | uniq -c"


def show_attachments(guide: Guide, box: Box, pods: Sequence[Pod]) -> None:
    """A load balancer leads to pods, and the internet reaches one; then nothing is attached any more."""
    with _subnet_with_a_way_out(guide, box):
        _show_load_balancer(guide, box, pods)
        _show_public_address(guide, box, pods[0])


def _show_load_balancer(guide: Guide, box: Box, pods: Sequence[Pod]) -> None:
    nodes = sorted({pod.node for pod in pods})
    members = [pod for node in nodes for pod in [one for one in pods if one.node == node][:MEMBERS_PER_NODE]]
    addresses = [str(pod.address) for pod in members]
    with _undone(box, ("DELETE", f"/load-balancers/{NAME}", None)):
        rule = ("--subnet", SUBNET, "--port", "80", "--backend-port", str(PORT), "--probe", f"tcp:{PORT}")
        guide.show("azure", "add-load-balancer", NAME, *rule, shorten=_frontend)
        guide.show("azure", "join", NAME, *addresses)
        frontend = _await_up(box, addresses)
        guide.show("azure", "load-balancers", shorten=_frontend)
        loop = LOOP.format(calls=CALLS, target=frontend)
        answers = guide.show("exec", _host(ONPREM), "--", "sh", "-c", loop)
        seen = guide.show("exec", _host(ONPREM), "--", *_wget(f"{frontend}/clientip")).rpartition(":")[0]
    served = {pod.node for pod in members if pod.name in answers}
    guide.judge(
        served == set(nodes) and seen == str(ONPREM.address),
        f"pods on {' and '.join(nodes)} answered, and saw {seen}, the on-premises host itself.",
        f"pods on {' and '.join(sorted(served)) or 'no node'} answered, and saw {seen or 'nobody'}; they are on "
        f"{' and '.join(nodes)}, and {ONPREM.address} called",
    )


def _show_public_address(guide: Guide, box: Box, pod: Pod) -> None:
    guide.chapter(
        "A pod with a public address",
        "A public IP address of Azure, given to a pod's ipConfiguration. Nothing comes in until a security group lets "
        f"it: then the internet's host {INTERNET_HOST.address} reaches the pod, and the pod sees who calls.",
    )
    with _undone(
        box,
        ("PATCH", f"/subnets/{SUBNET}", {"security_group": ""}),
        ("DELETE", f"/resources/networkSecurityGroups/{NAME}", None),
        ("POST", f"/public-ips/{NAME}/assign", {"address": ""}),
        ("DELETE", f"/public-ips/{NAME}", None),
    ):
        guide.show("azure", "add-public-ip", NAME)
        guide.show("azure", "assign", NAME, str(pod.address))
        guide.show("azure", "add-nsg", NAME)
        rule = ("--priority", "200", "--source", "Internet", "--ports", str(PORT))
        guide.show("azure", "rule", NAME, "web", *rule, shorten=_first_rule)
        guide.show("azure", "set-subnet", SUBNET, "--nsg", NAME)
        _await_written(box)
        public = next(one["address"] for one in box.azure("GET", "/public-ips") if one["name"] == NAME)
        url = f"{public}:{PORT}/clientip"
        seen = guide.show("exec", _host(INTERNET_HOST), "--", *_wget(url)).rpartition(":")[0]
    guide.judge(
        seen == str(INTERNET_HOST.address),
        f"{pod.name} answered at {public}, and saw {seen}, the internet's host itself.",
        f"at {public} the caller was seen as {seen or 'nobody'}, and not as {INTERNET_HOST.address}",
    )


@contextmanager
def _subnet_with_a_way_out(guide: Guide, box: Box) -> Iterator[None]:
    """A NAT gateway, as any VM needs that has something attached."""
    guide.chapter(
        "A load balancer in front of pods",
        "A pod's address can be in a backend pool of Azure's load balancer: no node ports on the way. Azure takes its "
        "default way out from a VM behind one, so the nodes' subnet gets a NAT gateway first. Afterwards all of this "
        "is taken away again.",
    )
    with _undone(box, ("DELETE", f"/nat-gateways/{NAME}", None)):
        guide.show("azure", "add-nat-gateway", NAME, SUBNET)
        yield


@contextmanager
def _undone(box: Box, *requests: tuple[str, str, object]) -> Iterator[None]:
    """Send these to the fake Azure at the end, in order, each after the NIC writes of those before it have ended."""
    try:
        yield
    finally:
        for request in requests:
            with suppress(StepError):  # what was never made cannot be taken away
                box.azure(*request)
            _await_written(box)


def _await_up(box: Box, addresses: Sequence[str]) -> IPv4Address:
    """Wait until the probes find all of these up; the frontend."""

    def frontend() -> IPv4Address | None:
        row = next(row for row in box.azure("GET", "/load-balancers") if row["name"] == NAME)
        return IPv4Address(row["frontend"]) if set(addresses) == set(row["up"].split()) else None

    return box.wait_for(frontend, SETTLED_WITHIN_S, f"the pods to be up behind the load balancer {NAME}")


def _await_written(box: Box) -> None:
    """Wait until no NIC is being written."""
    states = {"Succeeded"}
    box.wait_for(
        lambda: {nic["state"] for nic in box.azure("GET", "/nics")} == states, SETTLED_WITHIN_S, "the NIC writes to end"
    )


def _host(place: Place) -> str:
    return f"{PREFIX}{place.name}"


def _wget(url: str) -> Sequence[str]:
    return ("busybox", "wget", "-qO-", f"http://{url}")


def _frontend(table: str) -> str:
    return pick(table, columns=("NAME", "FRONTEND", "PORT", "TO", "UP"))


def _first_rule(table: str) -> str:
    return "\n".join(table.splitlines()[:2])
