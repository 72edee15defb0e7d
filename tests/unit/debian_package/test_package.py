"""The Debian package: what is in it, and what dpkg does with it, with one module in the place of its environment."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest

from azure_cni.entrypoints.docker_settings import STANDARD_FILE, read
from azure_cni.host.install import CONFLIST
from azurebox.facts import REPOSITORY
from debian_package import build
from debian_package.build import CONFFILE, FILES, SCRIPTS, SITE

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg here: not a Debian")

UNIT = "azure-cni-docker.service"
ENABLED = f"etc/systemd/system/multi-user.target.wants/{UNIT}"
SETTINGS = (FILES / "docker.toml").read_text()


def fill(root: Path, _: Path) -> None:
    site = root / SITE
    (site / "azure_cni.py").write_text("")
    (site / "one-1.dist-info").mkdir()
    (site / "one-1.dist-info" / "WHEEL").write_text("Tag: cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64\n")
    (site / "two-1.dist-info").mkdir()
    (site / "two-1.dist-info" / "WHEEL").write_text("Tag: cp311-abi3-manylinux_2_34_x86_64\n")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two versions of it."""
    work = tmp_path_factory.mktemp("package")
    first, second = (
        build.build(work / revision, work, version=f"{build.version()}-{revision}", fill=fill) for revision in "12"
    )
    return first, second


class Tree:
    """A directory with a dpkg database of its own. Scripts run with DPKG_ROOT, and so touch nothing of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "var/lib/dpkg/info").mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()

    def dpkg(self, *arguments: str) -> str:
        forced = "--force-script-chrootless,not-root,depends,confold,bad-path"
        command = ["dpkg", f"--root={self.root}", forced, "--log=/dev/null", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ours(self) -> list[str]:
        """What is there of the package, dpkg's own records aside."""
        names = (str(path.relative_to(self.root)) for path in self.root.rglob("*") if "azure-cni" in str(path.name))
        return sorted(name for name in names if not name.startswith("var/lib/dpkg/"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def field(package: Path, name: str) -> str:
    return subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, text=True, check=True).stdout.strip()


def test_its_version_is_the_projects_and_it_names_its_interpreter(packages: tuple[Path, Path]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert [field(package, "Version") for package in packages] == [f"{project['version']}-1", f"{project['version']}-2"]
    assert field(packages[0], "Depends").split(", ")[:2] == [build.PYTHON, "libc6 (>= 2.34)"]
    assert field(packages[0], "Architecture") == build.architecture()
    assert all("@" not in field(packages[0], name) for name in ("Depends", "Installed-Size", "Description"))


def test_it_is_the_same_when_it_is_built_again(packages: tuple[Path, Path], tmp_path: Path) -> None:
    again = build.build(tmp_path / "work", tmp_path, version=f"{build.version()}-1", fill=fill)
    assert again.read_bytes() == packages[0].read_bytes()


def test_all_of_it_is_roots_and_nobody_else_writes_it(packages: tuple[Path, Path]) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", packages[0]], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        mode, owner, *_ = line.split()
        assert owner == "root/root", line
        assert mode.startswith("l") or (mode[5], mode[8]) == ("-", "-"), line


def test_dpkg_installs_upgrades_and_purges_it(packages: tuple[Path, Path], tree: Tree) -> None:
    tree.dpkg("-i", str(packages[0]))
    assert (tree.root / SITE / "azure_cni.py").exists()
    assert (tree.root / ENABLED).is_symlink()
    settings = tree.root / CONFFILE
    assert settings.read_text() == SETTINGS
    settings.write_text("pool.size = 3\n")
    for place in ("run/azure-cni", "var/lib/azure-cni/audit"):
        (tree.root / place).mkdir(parents=True)
    conflist, binary = tree.root / "etc/cni/net.d" / CONFLIST, tree.root / "opt/cni/bin/azure-cni"
    for path in (conflist, binary):
        path.parent.mkdir(parents=True)
        path.touch()
    tree.dpkg("-i", str(packages[1]))
    assert conflist.exists()
    assert settings.read_text() == "pool.size = 3\n"
    tree.dpkg("--remove", "azure-cni")
    assert not (tree.root / "usr/bin/azure-cni").exists()
    assert not conflist.exists()
    assert not binary.exists()
    assert settings.exists()
    assert not (tree.root / "run/azure-cni").exists()
    assert (tree.root / "var/lib/azure-cni/audit").exists()
    said = tree.dpkg("--purge", "azure-cni")
    assert "the addresses azure-cni-... on this VM's NIC stay" in said
    assert tree.ours() == []
    assert not (tree.root / ENABLED).is_symlink()


def test_a_purge_after_the_removal_keeps_the_state_of_somebody_who_serves_since(
    packages: tuple[Path, Path], tree: Tree
) -> None:
    tree.dpkg("-i", str(packages[0]))
    tree.dpkg("--remove", "azure-cni")
    trail, run = tree.root / "var/lib/azure-cni/audit", tree.root / "run/azure-cni"
    for place in (trail, run):
        place.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run / "cni.sock"))
    said = tree.dpkg("--purge", "azure-cni")
    assert "/var/lib/azure-cni stays" in said
    assert trail.exists()
    assert (run / "cni.sock").exists()


def test_a_purge_takes_of_the_state_what_is_the_plugins(packages: tuple[Path, Path], tree: Tree) -> None:
    tree.dpkg("-i", str(packages[0]))
    state = tree.root / "var/lib/azure-cni"
    for name in ("audit/2026", "docker-networks.json", "notes"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).touch()
    tree.dpkg("--purge", "azure-cni")
    assert [path.name for path in state.iterdir()] == ["notes"]


def test_an_upgrade_does_not_enable_what_the_administrator_disabled(packages: tuple[Path, Path], tree: Tree) -> None:
    tree.dpkg("-i", str(packages[0]))
    (tree.root / ENABLED).unlink()
    tree.dpkg("-i", str(packages[1]))
    assert not (tree.root / ENABLED).is_symlink()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_one_for_sh(name: str) -> None:
    subprocess.run(["sh", "-n", FILES / name], check=True)
    assert (FILES / name).read_text().startswith("#!/bin/sh\n")


def test_the_settings_that_it_brings_are_the_defaults_and_so_are_their_examples() -> None:
    assert read(SETTINGS) == read("")
    examples = re.sub(r"^#(?=\w+ = )", "", SETTINGS, flags=re.MULTILINE)
    assert examples != SETTINGS
    given = tomllib.loads(examples)
    assert given.pop("routablePrefixes")
    assert given["azure"].pop("clientID")
    without = "\n".join(line for line in examples.splitlines() if not line.startswith(("routable", "clientID")))
    assert read(without) == read("")
    read(examples)


def test_the_unit_lets_the_plugin_write_where_it_writes_by_default() -> None:
    unit, chosen = (FILES / UNIT).read_text(), read("")
    assert f"RuntimeDirectory={chosen.run_dir.name}\n" in unit
    assert chosen.run_dir.parent == Path("/run")
    assert f"StateDirectory={chosen.state_dir.name}\n" in unit
    assert chosen.state_dir.parent == Path("/var/lib")
    assert chosen.socket.is_relative_to("/run")
    assert "ReadWritePaths=/run\n" in unit
    assert "RuntimeDirectoryPreserve=yes\n" in unit  # else a restart would lose the ledger under running containers
    assert Path("/") / CONFFILE == STANDARD_FILE


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT
    unit.write_text((FILES / UNIT).read_text().replace("/usr/bin/azure-cni", "/bin/true").replace("Documentation", "#"))
    environment = os.environ | {"SYSTEMD_LOG_LEVEL": "warning"}
    command = ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    complaints = [line for line in done.stderr.splitlines() if UNIT in line]
    assert (complaints, done.returncode) == ([], 0)


def test_the_manual_page_names_every_flag() -> None:
    from azure_cni.entrypoints import cli

    page = (FILES / build.PAGE).read_text().replace("\\-", "-")
    commands = [cli.docker, *cli.docker.commands.values()]
    flags = {flag for command in commands for option in command.params for flag in option.opts if flag.startswith("--")}
    assert {flag for flag in flags if flag not in page} == set()
    assert set(cli.docker.commands) <= set(re.findall(r"azure-cni docker (\w+)", page))
