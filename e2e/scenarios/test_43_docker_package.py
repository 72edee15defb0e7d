"""Ways to install `azure-cni docker`: the Debian package, from dpkg -i to the purge, and the image as a container."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from azurebox import project_image
from azurebox.client import Box
from azurebox.docker_host import IMAGE, PLUGIN, SERVER, DockerHost
from azurebox.docker_package import PATH, PackagedHost, build_packages, interpreter
from azurebox.facts import DISKS, REPOSITORY
from azurebox.steps import StepError

NETWORK, PEER = "vnet", "10.241.0.4"
CREATE = ("network", "create", "-d", "azure-cni", "--ipam-driver", "azure-cni", NETWORK)
ASK = f"""printf 'GET /whoami HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 60 {PEER} 80"""
ASK_ALWAYS = f"while :; do {ASK} > /said && echo answered || echo lost; /bin/sleep 0.1; done"
PATIENCE_S = 240.0
LEFT = """\
find /etc /opt /run /var /usr/bin /usr/lib /usr/share -xdev -name '*azure[-_]cni*' \
    -not -path /etc/azure-cni -not -path '/usr/lib/python*' -not -path '/var/usr*' -not -path '/var/azure-cni_*.deb'
ip -o link | grep acni
ip rule | grep '^90:'
nft list tables | grep azure
iptables -S FORWARD | grep azure-cni
true
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if not interpreter().exists():
        pytest.skip(f"the package would be for {interpreter()}, which Debian has not installed here")
    return build_packages(tmp_path_factory.mktemp("deb"))


@pytest.fixture
def host(packages: tuple[Path, Path]) -> Iterator[PackagedHost]:
    made = PackagedHost("azbox-docker3", package=packages[0])
    try:
        made.start()
        yield made
    finally:
        made.remove()


def answers(host: DockerHost, container: str) -> list[str]:
    return host.docker("logs", container).split()


def test_the_package_is_installed_upgraded_and_purged(
    box: Box, host: PackagedHost, packages: tuple[Path, Path]
) -> None:
    _, second = packages
    host.docker(*CREATE)
    host.docker("run", "-d", "--name", "asks", "--network", NETWORK, IMAGE, "/bin/sh", "-c", ASK_ALWAYS)
    address = host.address("asks", network=NETWORK)
    box.wait_for(lambda: len(answers(host, "asks")) > 3, PATIENCE_S, "the container to have answers")
    host.upgrade(second)
    assert host.run("dpkg-query", "-W", "-f", "${Version}", "azure-cni").endswith("-2")
    before = len(answers(host, "asks"))
    box.wait_for(lambda: len(answers(host, "asks")) > before + 3, PATIENCE_S, "more answers after the upgrade")
    assert set(answers(host, "asks")) == {"answered"}
    assert address in host.docker("exec", "asks", "/bin/cat", "/said")
    assert [line.split()[:2] for line in host.status().splitlines() if line.startswith(address)] == [
        [address, "joined"]
    ]

    with pytest.raises(StepError, match="containers here have addresses of the VNet"):
        host.purge()
    host.docker("exec", "asks", "/bin/sh", "-c", ASK)
    host.docker("rm", "-f", "asks")
    with pytest.raises(StepError, match=f"docker network rm {NETWORK}"):
        host.purge()
    host.docker("network", "rm", NETWORK)
    host.stop(PLUGIN)
    host.purge()
    assert host.run("sh", "-c", LEFT) == ""
    assert host.run("ls", "/etc/azure-cni").split() == ["ca.pem"]  # which the package did not bring


@pytest.mark.usefixtures("box")
def test_the_image_serves_docker_by_the_command_of_the_documentation() -> None:
    text = (REPOSITORY / "docs/docker.md").read_text()
    shown = re.search(r"### As a container.*?```console\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    host = DockerHost("azbox-docker4")
    try:
        built = project_image.ensure()
        host.boot()
        host.start_docker()
        shutil.copy2(built.archive, DISKS / host.name / "var" / "azure-cni.tar")
        host.docker("load", "-i", "/var/azure-cni.tar")
        host.run("env", PATH, "sh", "-ec", shown[1].replace("IMAGE", built.name))
        ready = ("exec", "azure-cni", "azure-cni", "docker", "status", "--wait", "120")
        assert ": ready" in host.docker(*ready)
        host.docker(*CREATE)
        host.docker("run", "-d", "--name", "web", "--network", NETWORK, *SERVER)
        address = host.address("web", network=NETWORK)
        assert address in host.docker("exec", "web", "/bin/sh", "-c", ASK)
        host.docker("restart", "azure-cni")
        assert address in host.docker("exec", "web", "/bin/sh", "-c", ASK)
        assert address in host.docker(*ready)
        host.docker("rm", "-f", "web")
        host.docker("network", "rm", NETWORK)
    finally:
        host.remove()
