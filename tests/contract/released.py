"""A release in a folder, as `make release IMAGE=yes` leaves it but for what its image has, and who verifies it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from azurebox import tools
from contract.oci_push import image
from release import artifacts, components, contents, sign, versions
from unit.chart.helm import REPOSITORY, helm
from unit.documentation.markdown import blocks

AT: Final = 1_700_000_000
VERSION: Final = versions.standing(REPOSITORY)
CHART: Final = f"azure-cni-{VERSION}.tgz"
MAIL: Final = "releases@example.com"
LONG_S: Final = 300
COMMANDS: Final = [one.text for one in blocks((REPOSITORY / "docs" / "verify.md").read_text()) if one.text][:5]
BY_DIGEST: Final = "REGISTRY/azure-cni@$(cat azure-cni-VERSION-image.digest)"
PINNED: Final = components.python_packages((REPOSITORY / "requirements" / "agent.txt").read_text(), python="3.13")
STATUS: Final = "Package: libc6\nStatus: install ok installed\nArchitecture: ARCHITECTURE\nVersion: 2.41\n"
"""Of each image what dpkg has as installed."""
RELEASE: Final = "ID=debian\nVERSION_ID=13\n"


def make(folder: Path) -> None:
    """The files that are verified, with the list of their sums."""
    artifacts.chart(REPOSITORY, folder, AT)
    artifacts.plugin(REPOSITORY, folder, AT, VERSION)
    packages = "opt/azure-cni/lib/python3.13/site-packages"
    described = {
        f"{packages}/{one.name}-{one.version}.dist-info/METADATA": f"Name: {one.name}\nVersion: {one.version}\n"
        for one in PINNED
    }
    described |= {components.DPKG_STATUS: STATUS, components.OS_RELEASE: RELEASE}
    digest = image(contents.image_file(folder, VERSION), described, at=AT)
    contents.digest_file(folder, VERSION).write_text(f"{digest}\n")
    contents.lists(REPOSITORY, folder, AT, VERSION)
    contents.provenance_of(REPOSITORY, folder, AT, VERSION)
    artifacts.write_sums(folder)


class Verifier:
    """Who has a release in a folder, its keys, a registry, and the commands of docs/verify.md."""

    def __init__(self, folder: Path, home: Path, registry: str = "127.0.0.1:1") -> None:
        self.folder, self.home, self.registry = folder, home, registry
        programs = home / "bin"
        programs.mkdir()
        for name, place in (("cosign", tools.path("cosign")), ("helm", helm())):
            (programs / name).symlink_to(place)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "COSIGN_PASSWORD": "",
            "GNUPGHOME": str(home),
            "DOCKER_CONFIG": str(home),
            "HOME": str(home),
        }

    def elsewhere(self, folder: Path) -> Verifier:
        """The same with a copy of the files, which a test may change."""
        shutil.copytree(self.folder, folder)
        other = Verifier.__new__(Verifier)
        vars(other).update(vars(self) | {"folder": folder})
        return other

    @property
    def image(self) -> str:
        """The name by which the registry has it."""
        return f"{self.registry}/azure-cni@{contents.digest_file(self.folder, VERSION).read_text().strip()}"

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """In a shell, in the folder."""
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", command],
            cwd=self.folder, env=os.environ | self.environment,
            capture_output=True, text=True, timeout=LONG_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def page(self, number: int, *, check: bool = True, image: str = "") -> subprocess.CompletedProcess[str]:
        """A command of the page, from 1 on; what differs from it is the registry, which has no TLS."""
        command = COMMANDS[number - 1].replace(BY_DIGEST, image or BY_DIGEST)
        command = command.replace("VERSION", VERSION).replace("REGISTRY", self.registry)
        for verb in ("cosign verify ", "cosign verify-attestation "):
            command = command.replace(verb, f"{verb}--allow-http-registry ")
        return self.run(command, check=check)

    def make_key_of_the_chart(self) -> None:
        """A key of gpg, and what helm reads of it."""
        self.home.chmod(0o700)
        self.run(
            f"gpg --batch --pinentry-mode loopback --passphrase '' --quick-generate-key {MAIL} rsa2048 sign never"
            f" && gpg --export {MAIL} > {self.home}/keyring.gpg"
        )

    def take_keys(self) -> None:
        """Put the public keys beside the files, where the page has them."""
        for key in (self.home / "keyring.gpg", self.home / "cosign.pub"):
            if key.exists():
                shutil.copy(key, self.folder)


@contextmanager
def a_registry() -> Iterator[str]:
    """A registry in memory, on a free port of loopback; its address."""
    tools.ensure_tools((tools.REGISTRY,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen([tools.path("registry"), address])
    try:
        deadline = time.monotonic() + LONG_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def older_chart(folder: Path, work: Path) -> Path:
    """A chart as one was signed before this version, under this version's name: package and signature."""
    artifacts.chart(REPOSITORY, work, AT - 1)
    before = (work / CHART).rename(work / "azure-cni-0.0.9.tgz")
    signed = sign.sign_chart(before, MAIL)
    shutil.copy(before, folder / CHART)
    shutil.copy(signed, folder / f"{CHART}{sign.PROVENANCE}")
    assert yaml.safe_load(sign.message(before).partition("\n...\n")[2])["files"].keys() == {before.name}
    return before
