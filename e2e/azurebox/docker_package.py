"""A VM with Docker whose plugin comes from the Debian package, installed there by dpkg.

A VM of the box shares the host's /usr: what dpkg changes there is laid over it, in the VM's own mount namespace. Its
list of packages has those that ours depends on, as the host has them. There is no systemd in a VM, so the box starts
and stops what the unit would.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from azurebox.docker_host import ENGINE, PLUGIN, DockerHost
from azurebox.steps import capture
from debian_package import build

PREPARE = """\
mkdir -p /var/usr /var/usr.work /var/lib/dpkg/info /var/lib/dpkg/updates
mountpoint -q /usr || mount -t overlay -o lowerdir=/usr,upperdir=/var/usr,workdir=/var/usr.work overlay /usr
"""
PATH = f"PATH={ENGINE}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedHost(DockerHost):
    """Such a VM, and the package that it starts with."""

    package: Path

    def start_plugin(self) -> None:
        """Install the package unless one is, and do as its unit does."""
        if not self.run("sh", "-c", "command -v azure-cni || true").strip():
            self._prepare()
            self.install(self.package)
        self.run("azure-cni", "docker", "--check-config")
        DockerHost.start_plugin(self)

    def install(self, package: Path) -> str:
        """Install or upgrade; what dpkg says."""
        shutil.copy2(package, self._machine.disk / "var" / package.name)
        return self._dpkg("--force-confold", "-i", f"/var/{package.name}")

    def upgrade(self, package: Path) -> None:
        """Under the running plugin, which is then restarted, as the package's scripts do where systemd runs."""
        self.install(package)
        self.stop(PLUGIN)
        self.start_plugin()

    def purge(self) -> str:
        """What dpkg says; StepError when the package is to stay."""
        return self._dpkg("--purge", "azure-cni")

    def _dpkg(self, *arguments: str) -> str:
        return self.run("env", PATH, "DEBIAN_FRONTEND=noninteractive", "dpkg", *arguments)

    def _prepare(self) -> None:
        self.run("sh", "-ec", PREPARE)
        depended = capture(["dpkg-deb", "-f", str(self.package), "Depends"], what="look at the package")
        names = [name.split()[0] for name in depended.split(",")]
        status = subprocess.run(["dpkg-query", "-s", *names], capture_output=True, text=True, check=False).stdout
        self._machine.write("/var/lib/dpkg/status", status)

    @staticmethod
    def _azure_cni() -> tuple[str, ...]:
        return ("/usr/bin/azure-cni", "docker")


def build_packages(work: Path) -> tuple[Path, Path]:
    """The package of these sources, and the next revision of it."""

    def again(root: Path, _: Path) -> None:
        shutil.copytree(filled / build.SITE, root / build.SITE, dirs_exist_ok=True, symlinks=True)
        (root / build.CNI_BINARY).parent.mkdir(parents=True)
        shutil.copy2(filled / build.CNI_BINARY, root / build.CNI_BINARY)

    first = build.build(work / "1", work, version=f"{build.version()}-1", fill=build.fill_tree)
    filled = work / "1" / "root"
    return first, build.build(work / "2", work, version=f"{build.version()}-2", fill=again)


def interpreter() -> Path:
    """What the package depends on, as Debian's package of it installs it."""
    return Path("/usr/bin") / build.PYTHON
