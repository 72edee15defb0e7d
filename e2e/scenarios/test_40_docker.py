"""Docker without Kubernetes, beside the cluster: containers on two VMs, with addresses of the VNet.

`--docker 29` has the newer engine, and `--docker-rounds 20` more rounds of a hundred containers.
"""

import json
import shlex
from collections.abc import Iterator

import pytest

from azurebox import processes
from azurebox.client import Box
from azurebox.docker_host import CLIENT, DAEMON, ENGINE, IMAGE, PLUGIN, SERVER, DockerHost
from azurebox.steps import StepError
from scenarios.harness.docker import (
    DRIVERS,
    IMDS,
    INTERNET,
    NETWORK,
    ON_PREM,
    PATIENCE_S,
    PEER,
    has_none_assigned,
    on_nic,
    primary,
    seen,
    started,
    two_hosts,
)

FIXED = "fixed"
MANY = 100


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest) -> Iterator[tuple[DockerHost, DockerHost]]:
    with two_hosts(request.config.getoption("--docker")) as both:
        yield both


def test_containers_on_two_vms_are_seen_with_their_own_addresses(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, other = hosts
    a, b = started(one, "web"), started(other, "asks")
    assert a in on_nic(box, one)
    assert b in on_nic(box, other)
    assert seen(one, "web", b) == a
    assert seen(other, "asks", a) == b
    assert seen(other, "asks", PEER, 80, "/whoami") == b
    assert seen(other, "asks", ON_PREM, 80, "/whoami") == b
    assert seen(other, "asks", INTERNET, 80, "/whoami") != b  # but the way out of its VM
    with pytest.raises(StepError):
        seen(other, "asks", IMDS, 80, "/metadata/instance")
    assert "ready" in one.status()
    for host, name in ((one, "web"), (other, "asks")):
        host.docker("rm", "-f", name)
        assert has_none_assigned(host)


def test_a_container_keeps_its_network_while_the_plugin_is_away(hosts: tuple[DockerHost, DockerHost]) -> None:
    one, other = hosts
    a, b = started(one, "web"), started(other, "asks")
    one.stop(PLUGIN)
    assert seen(other, "asks", a) == b
    with pytest.raises(StepError):
        one.docker("run", "--rm", "--network", NETWORK, IMAGE, "/bin/sleep", "0")
    one.start_plugin()
    assert [line.split()[:2] for line in one.status().splitlines() if line.startswith(a)] == [[a, "joined"]]
    assert seen(other, "asks", a) == b
    one.docker("run", "--rm", "--network", NETWORK, IMAGE, "/bin/sleep", "0")
    for host, name in ((one, "web"), (other, "asks")):
        host.docker("rm", "-f", name)
    assert has_none_assigned(one)


def test_a_container_that_names_its_address_has_it_again(box: Box, hosts: tuple[DockerHost, DockerHost]) -> None:
    one, _ = hosts
    one.docker("network", "create", *DRIVERS, "--subnet", "10.240.0.0/22", FIXED)
    wanted = max(on_nic(box, one) - {primary(box, one)})
    assert started(one, "named", "--ip", wanted, network=FIXED) == wanted
    one.docker("restart", "-t", "0", "named")
    assert one.address("named", network=FIXED) == wanted
    with pytest.raises(StepError, match="does not hold it for containers"):
        one.docker("run", "--rm", "--network", FIXED, "--ip", "10.240.3.250", IMAGE, "/bin/sleep", "0")
    one.docker("rm", "-f", "named")
    one.docker("network", "rm", FIXED)


def counts(host: DockerHost) -> dict[str, int]:
    """What a container has on its VM while it lives."""
    ways = {
        "links": "ip -o link",
        "routes": "ip route show table all",
        "namespaces": "ls /run/docker/netns",
        "rules": "iptables -S FORWARD",
        "containers": f"{ENGINE}{CLIENT} ps -aq",
    }
    return {what: len(host.run("sh", "-c", way).splitlines()) for what, way in ways.items()}


def test_a_hundred_containers_come_and_go_and_the_counts_are_as_before(
    request: pytest.FixtureRequest, box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, _ = hosts
    started(one, "first")  # Docker and the plugin set their rules up
    one.docker("rm", "-f", "first")
    before = counts(one)
    docker = f"{ENGINE}{CLIENT}"
    run = f"{docker} run -d --name many{{}} --network {NETWORK} {IMAGE} /bin/sleep 3600"
    for _ in range(request.config.getoption("--docker-rounds")):
        one.run("sh", "-c", f"seq {MANY} | xargs -P 4 -I{{}} {run}")
        shown = json.loads(one.docker("network", "inspect", NETWORK))[0]["Containers"].values()
        addresses = {str(place["IPv4Address"]).partition("/")[0] for place in shown}
        assert len(addresses) == len(shown) == MANY
        assert addresses <= on_nic(box, one)
        one.run("sh", "-c", f"seq {MANY} | xargs -P 4 -I{{}} {docker} rm -f many{{}}")
        assert ", 0 assigned, " in one.status()
        box.wait_for(lambda: has_none_assigned(one), PATIENCE_S, "the links to be gone")
    box.wait_for(lambda: ", 0 cooling, " in one.status(), PATIENCE_S, "addresses to be free")

    def as_before() -> bool:
        """Docker removes a namespace's file up to a minute after its container: there may be fewer."""
        return all(count <= before[what] for what, count in counts(one).items())

    box.wait_for(as_before, PATIENCE_S, f"the counts to be {before} again")


def test_what_docker_has_lost_keeps_its_address_while_it_runs_and_returns_it_afterwards(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    """The daemon is killed and its state removed; the container runs on, and then it ends."""
    one, other = hosts
    a, b = started(one, "lost"), started(other, "asks")
    process = one.docker("inspect", "-f", "{{.State.Pid}}", "lost").strip()
    one.stop(DAEMON)
    one.run("sh", "-c", "rm -rf /var/lib/docker/containers/* /var/lib/docker/network/files/*")
    one.start_daemon()
    assert "lost" not in one.docker("ps", "-a")
    said = "processes still run in it"
    box.wait_for(lambda: said in processes.log_of(f"{one.name}-{PLUGIN}").read_text(), PATIENCE_S, said)
    assert ", 1 assigned, " in one.status()
    assert seen(other, "asks", a) == b
    one.run("kill", "-9", process)
    box.wait_for(lambda: has_none_assigned(one), PATIENCE_S, "the address to be taken back")
    other.docker("rm", "-f", "asks")
    one.docker("network", "create", *DRIVERS, NETWORK)
    one.docker("run", "--rm", "--network", NETWORK, IMAGE, "/bin/sleep", "0")


def test_a_container_that_the_kernel_ends_for_its_memory_returns_its_address(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    """With and without a policy that starts it again: the kernel's OOM killer ends what grows beyond its limit."""
    one, other = hosts
    b = started(other, "asks")
    eats = "sleep 1; grown=x; while :; do grown=$grown$grown; done"
    limited = ("--network", NETWORK, "--memory", "16m")
    one.docker("run", "-d", "--name", "once", *limited, IMAGE, "/bin/sh", "-c", eats)
    box.wait_for(lambda: _ended(one, "once"), PATIENCE_S, "the container to have ended")
    assert one.docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "once").split() == ["true", "137"]
    assert has_none_assigned(one)
    first = f"test -e /once && exec {shlex.join(SERVER[1:])}; : > /once; {eats}"
    one.docker("run", "-d", "--name", "again", "--restart", "always", *limited, IMAGE, "/bin/sh", "-c", first)
    box.wait_for(lambda: _serves(one, "again", asked_by=(other, b)), PATIENCE_S, "the container to serve after its end")
    assert one.docker("inspect", "-f", "{{.RestartCount}}", "again").strip() == "1"
    assert ", 1 assigned, " in one.status()
    one.docker("rm", "-f", "once", "again")
    other.docker("rm", "-f", "asks")
    assert has_none_assigned(one)


def _ended(host: DockerHost, name: str) -> bool:
    return host.docker("inspect", "-f", "{{.State.Status}}", name).strip() == "exited"


def _serves(host: DockerHost, name: str, *, asked_by: tuple[DockerHost, str]) -> bool:
    """Whether it answers the one who asks, whom it sees by the address of the VNet."""
    asker, address = asked_by
    try:
        return seen(asker, "asks", host.address(name, network=NETWORK)) == address
    except StepError:
        return False


def test_the_status_names_containers_and_the_trail_remembers_them(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, _ = hosts
    a = started(one, "named")
    row = [a, "joined"]
    box.wait_for(
        lambda: [line.split()[-1] for line in one.status().splitlines() if line.split()[:2] == row] == ["named"],
        PATIENCE_S,
        "the status to name the container",
    )
    one.docker("rm", "-f", "named")
    assert "named" in one.who(a).splitlines()[-1]


def test_containers_that_restart_always_survive_dockerd_and_the_vm(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, other = hosts
    b = started(other, "asks")
    started(one, "always", "--restart", "always")
    one.docker("run", "-d", "--name", "once", "--network", NETWORK, *SERVER)

    def comes_back() -> bool:
        address = one.address("always", network=NETWORK)
        return bool(address) and seen(other, "asks", address) == b

    for reboots in (False, True):
        if reboots:
            one.reboot()
        else:
            one.stop(DAEMON)
            one.start_daemon()
        box.wait_for(comes_back, PATIENCE_S, "the container to be back on the VNet")
        box.wait_for(lambda: ", 1 assigned, " in one.status(), PATIENCE_S, "one address to be assigned")
    for host, names in ((one, ("always", "once")), (other, ("asks",))):
        host.docker("rm", "-f", *names)
        assert has_none_assigned(host)
