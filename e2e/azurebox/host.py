"""What the box needs of the machine it runs on: root, and Debian packages that are installed when missing."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from azurebox.steps import StepError, run, step

# command -> the package of Debian and Ubuntu that brings it
PACKAGES = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "prometheus": "prometheus",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "iperf3": "iperf3",
    "busybox": "busybox-static",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "curl": "curl",
    "lua5.1": "lua5.1",  # runs Argo CD's health scripts of docs/delivery.md in the tests
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")  # Ubuntu has none: the base image is Debian
NO_SERVICES = Path("/usr/sbin/policy-rc.d")


def require_root() -> None:
    """Raises: StepError unless this process is root."""
    if os.geteuid() != 0:
        raise StepError("cannot make namespaces: not root", advice="run it as root, for example with sudo")


def missing_packages(packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """The packages whose command is not there, sorted."""
    missing = {package for command, package in packages.items() if shutil.which(command) is None}
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def ensure_packages(packages: Mapping[str, str] = PACKAGES) -> None:
    """Install what is missing, without starting any of the services that come with it."""
    missing = missing_packages(packages)
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise StepError(f"cannot install {' '.join(missing)}: no apt-get", advice="install them, then run this again")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    advice = "look whether the package sources of this machine are reachable, then run this again"
    with step("package lists"):
        run(["apt-get", "update", "-q"], log="apt", what="update the package lists", advice=advice, env=environment)
    with step(f"packages: {len(missing)} missing"):
        keep_policy = NO_SERVICES.exists()
        if not keep_policy:
            NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
            NO_SERVICES.chmod(0o755)
        try:
            run(
                ["apt-get", "install", "-qy", "--no-install-recommends", *missing],
                log="apt",
                what=f"install {' '.join(missing)}",
                advice=advice,
                env=environment,
            )
        finally:
            if not keep_policy:
                NO_SERVICES.unlink()
