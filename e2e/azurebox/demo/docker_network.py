"""What a container is in the VNet: its address, on the NIC and at Docker, and who sees it with that."""

from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address

from azurebox.demo.addresses import digest
from azurebox.demo.docker_stage import (
    CLIENT,
    NETWORK,
    WEB,
    Stage,
    address_of,
    head,
    nic_name,
    served_at,
    show_call,
    show_in,
    show_start,
)
from azurebox.demo.guide import Guide
from azurebox.demo.traffic import CURL, whoami
from azurebox.demo.workload import PORT as POD_PORT
from azurebox.docker_host import IMAGE
from azurebox.fabric import Fabric
from azurebox.fabric.topology import INTERNET_HOST, ONPREM

ADDRESS = f"{{{{.NetworkSettings.Networks.{NETWORK}.IPAddress}}}}"


def show_process(guide: Guide, stage: Stage) -> None:
    """One process on each VM has a pool of addresses."""
    guide.chapter(
        "One process on each VM",
        "azure-cni docker is a plugin of Docker: one process, with one file of settings. On a VM of yours it is a "
        "systemd unit of a Debian package; here it runs from this checkout. It keeps a pool of addresses on the VM's "
        "NIC, so that a container that starts need not wait for Azure.",
    )
    show_in(guide, stage.one, "cat", "/etc/azure-cni/docker.toml")
    show_in(guide, stage.one, "azure-cni", "docker", "--check-config")
    texts = [
        show_in(guide, stage.one, "azure-cni", "docker", "status"),
        show_in(guide, stage.other, "azure-cni", "docker", "status", shorten=head),
    ]
    waiting = [host.name for host, text in zip(stage.hosts, texts, strict=True) if f"{host.name}: ready" not in text]
    guide.judge(not waiting, "both VMs are ready.", f"not ready: {', '.join(waiting)}")


def show_network(guide: Guide, stage: Stage) -> None:
    """The network of Docker that is the VNet."""
    guide.chapter(
        "A network for Docker that is the VNet",
        "One command on each VM: there is no subnet to choose and no overlay. azure-cni is named twice, as the driver "
        "of the network and as that of its addresses. The VMs know nothing of each other; what joins them is the VNet.",
    )
    for host in stage.hosts:
        create = ("docker", "network", "create", "-d", "azure-cni", "--ipam-driver", "azure-cni", NETWORK)
        show_in(guide, host, *create)
    listed = show_in(guide, stage.one, "docker", "network", "ls")
    found = any(line.split()[1:3] == [NETWORK, "azure-cni"] for line in listed.splitlines())
    guide.judge(found, f"Docker has the network {NETWORK}.", f"Docker has no network {NETWORK} of azure-cni")


def show_containers(guide: Guide, stage: Stage) -> None:
    """A container on each VM, each with an address."""
    guide.chapter(
        "Containers",
        f"{WEB} on the first VM, {CLIENT} on the second. Both run the same small server, which answers with the "
        "address that it sees calling. No port is published (-p): a container is reached at its own address, at every "
        "port.",
    )
    show_start(guide, stage.one, WEB)
    show_start(guide, stage.other, CLIENT)
    web = show_in(guide, stage.one, "docker", "inspect", "-f", ADDRESS, WEB).strip()
    client = show_in(guide, stage.other, "docker", "inspect", "-f", ADDRESS, CLIENT).strip()
    different = bool(web) and bool(client) and web != client
    guide.judge(
        different,
        f"{WEB} has {web}, and {CLIENT} has {client}.",
        f"{WEB} has {web or 'no address'}, and {CLIENT} has {client or 'none'}",
    )


def show_nics(guide: Guide, stage: Stage) -> None:
    """Azure says the same."""
    guide.chapter(
        "The same addresses in Azure",
        "Azure delivers to a VM what the ipConfigurations of its NIC hold, and drops all else. This is what the (fake) "
        "Azure Resource Manager has, in short: the VM's own address, and that of the container. The others wait for "
        "the next containers.",
    )
    for host, name in zip(stage.hosts, (WEB, CLIENT), strict=True):
        address = address_of(host, name)
        shorten = partial(digest, holders={address: name}, whose="the VM itself", column="CONTAINER")
        guide.show("azure", f"/nics/{nic_name(host)}", shorten=shorten)
        guide.judge(
            address in stage.pool(host),
            f"the address of {name} is on the NIC of {host.name}.",
            f"{address}, which {name} has, is not on the NIC of {host.name}",
        )


def show_container_to_container(guide: Guide, stage: Stage) -> None:
    """A server sees the container that calls, also across VMs."""
    guide.chapter(
        "From container to container",
        f"{CLIENT} on {stage.other.name} calls {WEB} on {stage.one.name}. Nothing between them translates an address: "
        "what the server sees is the caller itself.",
    )
    seen = show_call(guide, stage.other, CLIENT, served_at(stage.web))
    guide.judge(
        seen == str(stage.client),
        f"{WEB} saw {seen}, the container {CLIENT} itself.",
        f"{WEB} saw {seen or 'nobody'}, and not {CLIENT}, which has {stage.client}",
    )


def show_name(guide: Guide, stage: Stage) -> None:
    """Docker's own DNS knows containers of the VM by name."""
    guide.chapter(
        "By name",
        f"Docker's own DNS finds {WEB} by its name for the other containers of its VM. One of them calls it, and is "
        "gone again after that (--rm).",
    )
    run = ("docker", "run", "--rm", "--network", NETWORK, IMAGE)
    seen = show_in(guide, stage.one, *run, "wget", "-qO-", f"http://{served_at(WEB)}").strip()
    pool = list(map(str, stage.pool(stage.one)))
    guide.judge(
        seen in pool and seen != str(stage.web),
        f"{WEB} was found by its name, and saw {seen}, another address of this VM's NIC.",
        f"{WEB} saw {seen or 'nobody'}; {WEB} itself has {stage.web}, and the pool of its VM {', '.join(pool)}",
    )


def show_pod(guide: Guide, stage: Stage) -> None:
    """A pod of Kubernetes and a container see each other."""
    pod = stage.pod
    guide.chapter(
        "From a container to a pod of Kubernetes, and back",
        f"The pod {pod.name} runs on {pod.node}, a node of the cluster beside these VMs, with an address of the same "
        "VNet. Each side answers with the address that it sees calling.",
    )
    pod_saw = show_call(guide, stage.other, CLIENT, f"{pod.address}:{POD_PORT}/clientip").rpartition(":")[0]
    web_saw = guide.show("kubectl", "exec", pod.name, "--", *CURL, f"http://{served_at(stage.web)}").strip()
    guide.judge(
        pod_saw == str(stage.client) and web_saw == str(pod.address),
        f"the pod saw {pod_saw}, the container {CLIENT} itself; {WEB} saw {web_saw}, the pod itself.",
        f"the pod saw {pod_saw or 'nobody'}, and {WEB} saw {web_saw or 'nobody'}; {CLIENT} has {stage.client}, and the "
        f"pod {pod.address}",
    )


def show_outside(
    guide: Guide,
    stage: Stage,
    *,
    public_addresses: Callable[[], Mapping[IPv4Address, IPv4Address]] = lambda: Fabric().public_addresses(),
) -> None:
    """On the premises they know the container, on the internet the VM; `public_addresses` shows who leaves as whom."""
    guide.chapter(
        "To an on-premises host, and to the internet",
        f"The host {ONPREM.address} on the premises sees the container itself, because the settings have its network "
        "in routablePrefixes. To the internet Azure gives a way out to the VM's primary address only: containers leave "
        f"with that (source NAT), and Azure makes a public address of it. So {INTERNET_HOST.address} sees the "
        "container as it sees the VM, which calls in the last line.",
    )
    premises = whoami(show_call(guide, stage.other, CLIENT, f"{ONPREM.address}/whoami"))
    url = f"{INTERNET_HOST.address}/whoami"
    internet = whoami(show_call(guide, stage.other, CLIENT, url))
    itself = whoami(show_in(guide, stage.other, "busybox", "wget", "-qO-", f"http://{url}"))
    primary = stage.primary(stage.other)
    public = public_addresses().get(primary)
    guide.judge(
        premises == stage.client and internet == itself == public,
        f"the on-premises host saw {premises}, the container {CLIENT} itself; the internet saw {internet}, as it does "
        "when the VM calls.",
        f"the on-premises host saw {premises}, and {CLIENT} has {stage.client}; the internet saw {internet}, and "
        f"{itself} when the VM called, whose primary address {primary} has the public address {public}",
    )
