"""Docker's tour: two VMs with Docker beside the cluster, shown in order, what to try next, and what was wrong.

The VMs are made new each time, with all that is on them, so that the same command works after any other: its own,
interrupted or not, and a scenario's. They stay, and `down` takes them away with the rest.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from azurebox import clusterdns, docker_host, lifecycle, release
from azurebox.client import Box
from azurebox.demo import docker_lifetimes, docker_network
from azurebox.demo.course import play, report
from azurebox.demo.docker_stage import NAMES, Stage, start_vms
from azurebox.demo.guide import Guide
from azurebox.demo.paper import Paper
from azurebox.demo.workload import one_pod
from azurebox.docker_host import DockerHost
from azurebox.facts import CACHE, DEFAULT_NODES, REPOSITORY
from azurebox.steps import step

POD = "demo-pod"

SCENES: Sequence[Callable[[Guide, Stage], None]] = (
    docker_network.show_process,
    docker_network.show_network,
    docker_network.show_containers,
    docker_network.show_nics,
    docker_network.show_container_to_container,
    docker_network.show_name,
    docker_network.show_pod,
    docker_network.show_outside,
    docker_lifetimes.show_named_address,
    docker_lifetimes.show_killed_process,
    docker_lifetimes.show_return,
)

VM = f"e2e/box exec {NAMES[0]} --"
NEXT: Mapping[str, Sequence[str]] = {
    "Start 40 containers on the first VM, and see its pool and its NIC grow. Then remove them: some minutes later the "
    "pool shrinks.": (
        f"{VM} sh -c 'for i in $(seq 40); do docker run -d --network vnet azbox/busybox:1 sleep 3600; done'",
        f"{VM} azure-cni docker status",
        "e2e/box azure nics",
        f"{VM} sh -c 'docker rm -f $(docker ps -aq)'",
    ),
    "Ask for an address that the NIC does not hold: the error names some that can be had.": (
        f"{VM} docker run --rm --network fixed --ip 10.240.3.250 azbox/busybox:1 sleep 1",
    ),
    "What the process logs (on a VM of yours: in the journal), and its metrics (docs/metrics.md):": (
        f"e2e/box logs {NAMES[0]}-{docker_host.PLUGIN}",
        f"{VM} busybox wget -qO- http://127.0.0.1:9810/metrics",
    ),
    "Trouble in Azure: for a minute the subnet is full. Containers start for as long as the pool has addresses; then "
    "docker run says why it cannot, and so does the status.": (
        "e2e/box azure fault subnet-full --seconds 60",
        f"{VM} sh -c 'for i in $(seq 40); do docker run -d --network vnet azbox/busybox:1 sleep 3600; done'",
    ),
    "Install it on a VM of yours: the package, all settings, Compose, and trouble by symptom are in docs/docker.md.": (
        "make deb",
    ),
    "See the same for pods of Kubernetes:": ("make demo",),
    "Take everything away, without a trace:": ("make down",),
}


def run(version: str, *, alone: Callable[[], AbstractContextManager[None]]) -> int:
    """Make, show, report; the exit status. `version`: of Docker's engine, one of `docker_host.VERSIONS`.

    `alone` keeps other commands from changing the box while it is made.

    Raises:
        StepError: there is nothing to show.

    """
    began = time.monotonic()
    docker_host.require_visible(REPOSITORY, CACHE)
    paper = Paper()
    guide = Guide(paper)
    paper.line(paper.strong("azure-cni docker: containers with addresses of an Azure virtual network"), indent="")
    guide.chapter(
        "Two VMs with Docker",
        f"Two VMs of a (fake) Azure virtual network run Docker {version}, without Kubernetes. The cluster that is made "
        "beside them is there for one pod, which a container will call. All of it is in network namespaces of this "
        "machine. The first time everything is built from source, which takes some minutes, and kept.",
    )
    paper.line("")
    hosts = DockerHost(NAMES[0], version), DockerHost(NAMES[1], version)
    with alone():
        if lifecycle.whole() and (before := docker_host.all_hosts()):
            with step(f"removing {' '.join(host.name for host in before)} of before"):
                for host in before:
                    host.remove()
        lifecycle.up(DEFAULT_NODES)
        clusterdns.apply()
        release.install([])
        with step(f"VMs with Docker: {' '.join(NAMES)}"):
            start_vms(hosts)
    box = Box()
    with ExitStack() as ending:
        with step("a pod of the cluster"):
            pod = ending.enter_context(one_pod(box, POD))
        stage = Stage(box, hosts, pod)
        play(guide, [partial(scene, guide, stage) for scene in SCENES])
    return report(
        guide, NEXT, took_s=time.monotonic() - began, remains="VMs and cluster keep running until `make down`."
    )
