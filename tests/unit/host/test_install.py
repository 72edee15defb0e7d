"""Binary and conflist on a node that goes on working meanwhile."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.cni.conflist import PORTMAP, ChainedPlugin
from azure_cni.errors import AzureCniError
from azure_cni.host.install import CONFLIST, HostPlugin

OPERATOR = Path(__file__).parents[3] / "operator"


@pytest.fixture
def plugin(tmp_path):
    source = tmp_path / "image" / "azure-cni"
    source.parent.mkdir()
    source.write_bytes(b"\x7fELF one")
    return HostPlugin(source, tmp_path / "bin", tmp_path / "net.d")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_binary_is_installed_executable_whatever_the_image_says(plugin):
    plugin.source.chmod(0o400)
    assert plugin.install_binary()
    assert plugin.binary.read_bytes() == b"\x7fELF one"
    assert plugin.binary.stat().st_mode & 0o7777 == 0o755
    assert names(plugin.bin_dir) == {"azure-cni"}


def test_the_same_binary_is_left_alone(plugin):
    plugin.install_binary()
    before = plugin.binary.stat()
    assert not plugin.install_binary()
    assert plugin.binary.stat().st_ino == before.st_ino


@pytest.fixture
def running_on_windows(monkeypatch):
    """Windows' file system as far as it matters here: no directory is opened, and no program replaced or removed while
    it runs, but it may be renamed. Returns what runs; a name that goes from it has ended.
    """
    running: set[bytes] = set()
    replace, unlink = Path.replace, Path.unlink

    def refuse(path: Path) -> None:
        if path.exists() and path.read_bytes() in running:
            raise PermissionError(13, "Access is denied", str(path))

    def refusing_replace(self: Path, target: Path) -> Path:
        refuse(Path(target))
        return replace(self, target)

    def refusing_unlink(self: Path, *, missing_ok: bool = False) -> None:
        refuse(self)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "replace", refusing_replace)
    monkeypatch.setattr(Path, "unlink", refusing_unlink)
    monkeypatch.delattr(os, "O_DIRECTORY")
    return running


def test_on_windows_a_program_is_replaced_while_it_runs_and_removed_later(tmp_path, running_on_windows):
    source = tmp_path / "azure-cni.exe"
    source.write_bytes(b"MZ one")
    plugin = HostPlugin(source, tmp_path / "bin", tmp_path / "net.d")
    assert plugin.install_binary()
    running_on_windows.add(b"MZ one")
    source.write_bytes(b"MZ two")
    assert plugin.install_binary()
    assert plugin.binary.name == "azure-cni.exe"
    assert plugin.binary.read_bytes() == b"MZ two"
    (aside,) = names(plugin.bin_dir) - {"azure-cni.exe"}
    assert not plugin.install_binary()
    assert names(plugin.bin_dir) == {"azure-cni.exe", aside}
    running_on_windows.clear()
    assert not plugin.install_binary()
    assert names(plugin.bin_dir) == {"azure-cni.exe"}


@pytest.mark.parametrize("modes", [True, False])
def test_where_files_have_no_modes_none_is_missed(plugin, *, modes):
    plugin = replace(plugin, modes=modes)
    assert plugin.activate("{}")
    plugin.conflist.chmod(0o666)
    assert plugin.activate("{}") is modes
    assert not plugin.activate("{}")
    assert plugin.activate('{"name": "x"}')


def test_what_can_be_neither_replaced_nor_renamed_stays_and_is_named(plugin, monkeypatch):
    """A reader that has it open and shares nothing."""
    plugin.install_binary()

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "The process cannot access the file", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    plugin.source.write_bytes(b"\x7fELF two")
    with pytest.raises(AzureCniError, match=r"cannot install the plugin binary .*: The process cannot access the file"):
        plugin.install_binary()
    assert names(plugin.bin_dir) == {"azure-cni"}
    assert plugin.binary.read_bytes() == b"\x7fELF one"


@pytest.mark.parametrize("spoil", ["content", "mode", "symlink"])
def test_a_binary_that_differs_is_replaced_and_not_written_into(plugin, spoil, tmp_path):
    plugin.install_binary()
    elsewhere = tmp_path / "elsewhere"
    match spoil:
        case "content":
            plugin.binary.write_bytes(b"\x7fELF two")
        case "mode":
            plugin.binary.chmod(0o644)
        case "symlink":
            shutil.copy(plugin.binary, elsewhere)
            plugin.binary.unlink()
            plugin.binary.symlink_to(elsewhere)
    assert plugin.install_binary()
    assert not plugin.binary.is_symlink()
    assert plugin.binary.read_bytes() == b"\x7fELF one"
    assert plugin.binary.stat().st_mode & 0o777 == 0o755


def test_a_binary_that_runs_is_replaced(plugin):
    plugin.bin_dir.mkdir()
    shutil.copy("/bin/sleep", plugin.binary)
    with subprocess.Popen([plugin.binary, "60"]) as running:
        try:
            with pytest.raises(OSError, match="Text file busy"):
                plugin.binary.write_bytes(b"")
            assert plugin.install_binary()
            assert plugin.binary.read_bytes() == b"\x7fELF one"
            assert running.poll() is None
        finally:
            running.kill()


def test_what_a_killed_agent_left_is_swept(plugin):
    plugin.bin_dir.mkdir()
    (plugin.bin_dir / ".azure-cni.x1y2.tmp").touch()
    (plugin.bin_dir / ".other.x1y2.tmp").touch()
    plugin.install_binary()
    assert names(plugin.bin_dir) == {"azure-cni", ".other.x1y2.tmp"}


def test_the_conflist_is_written_once(plugin):
    assert plugin.activate("{}\n")
    assert not plugin.activate("{}\n")
    assert plugin.activate('{"name": "azure-cni"}\n')
    assert plugin.conflist.read_text() == '{"name": "azure-cni"}\n'
    assert plugin.conflist.stat().st_mode & 0o777 == 0o644
    assert names(plugin.conf_dir) == {CONFLIST}


def test_a_reader_sees_one_conflist_or_the_other_and_never_a_part(plugin):
    texts = ["a" * 100_000, "b" * 100_000]
    plugin.activate(texts[0])
    seen: set[str] = set()
    listed: set[str] = set()
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.add(plugin.conflist.read_text())
            listed.update(names(plugin.conf_dir))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(50):
        plugin.activate(texts[turn % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)
    assert {name for name in listed if not name.startswith(".") or not name.endswith(".tmp")} == {CONFLIST}


def test_a_full_disk_leaves_the_old_conflist_and_nothing_else(plugin):
    plugin.activate("old")
    script = """
import resource, sys
from pathlib import Path
from azure_cni.errors import AzureCniError
from azure_cni.host.install import HostPlugin
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    HostPlugin(Path(), Path(), Path(sys.argv[1])).activate("new" * 100)
except AzureCniError as error:
    print(error)
"""
    reported = subprocess.run(
        [sys.executable, "-c", script, plugin.conf_dir],
        env={"PYTHONPATH": str(OPERATOR), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert reported.stdout.startswith(f"cannot write the conflist {plugin.conflist}: File too large")
    assert plugin.conflist.read_text() == "old"
    assert names(plugin.conf_dir) == {CONFLIST}


@pytest.mark.parametrize(
    ("others", "rivals"),
    [
        ([], ()),
        (["10-azure-cni.conflist.bak", "05-notes.txt", ".05-hidden.tmp"], ()),
        (["87-podman.conflist", "99-loopback.conf"], ()),
        (
            ["10-aws.conflist", "05-cilium.conflist", "00-x.json", "87-podman.conflist"],
            ("00-x.json", "05-cilium.conflist", "10-aws.conflist"),
        ),
    ],
)
def test_what_the_runtime_would_take_instead_of_us_is_named(plugin, others, rivals):
    plugin.activate("{}")
    for name in others:
        (plugin.conf_dir / name).touch()
    assert plugin.rivals() == rivals
    conflicts = plugin.conflicts()
    assert [conflict.reason for conflict in conflicts] == ["OtherConflist"] * bool(rivals)
    for conflict in conflicts:
        assert f"uses {plugin.conf_dir}/00-x.json and not 10-azure-cni.conflist" in conflict.message
        assert "until 00-x.json and 05-cilium.conflist and 10-aws.conflist are removed" in conflict.message
        subprocess.run(["sh", "-c", conflict.command], check=True)
        assert plugin.rivals() == ()
        assert plugin.alone is False, "what is not in the way stays"


def test_multus_that_delegates_to_us_is_not_in_the_way_and_one_that_does_not_is(plugin):
    plugin.activate("{}")
    multus, thick = plugin.conf_dir / "00-multus.conf", '{"type": "multus-shim", "clusterNetwork": "/host/net.d/%s"}'
    (plugin.conf_dir / "05-cilium.conflist").touch()  # only the first counts
    multus.write_text(thick % CONFLIST)
    assert (plugin.rivals(), plugin.conflicts()) == ((), ())
    multus.write_text(thick % "05-cilium.conflist")
    assert plugin.rivals() == ("00-multus.conf", "05-cilium.conflist")
    (conflict,) = plugin.conflicts()
    assert (conflict.reason, conflict.command) == ("OtherConflist", ""), "somebody may mean that: Multus stays"
    assert f"uses {multus}, by which Multus delegates to another network" in conflict.message
    assert f"have Multus delegate to {CONFLIST}" in conflict.message
    multus.unlink()
    multus.mkdir()
    assert plugin.rivals() == ("00-multus.conf", "05-cilium.conflist")
    assert plugin.conflicts()[0].command.startswith(f"mv {multus} ")


def test_the_conflist_is_withdrawn_and_can_be_written_again(plugin: HostPlugin):
    assert not plugin.withdraw()
    plugin.activate("{}")
    (plugin.conf_dir / "05-notes.txt").touch()
    assert plugin.withdraw()
    assert names(plugin.conf_dir) == {"05-notes.txt"}
    assert plugin.activate("{}")


@pytest.mark.parametrize("other", ["99-loopback.conf", "87-podman.conflist", "00-x.json"])
def test_the_conflist_stays_where_the_runtime_would_take_another_one_in_its_place(plugin: HostPlugin, other: str):
    plugin.activate("{}")
    (plugin.conf_dir / other).touch()
    assert not plugin.withdraw()
    assert names(plugin.conf_dir) == {CONFLIST, other}


def test_a_plugin_that_the_conflist_names_and_the_node_has_not_is_reported(plugin: HostPlugin):
    assert "portmap is missing in" in plugin.missing(PORTMAP)
    assert "containernetworking-plugins" in plugin.missing(PORTMAP)
    plugin.bin_dir.mkdir(exist_ok=True)
    (plugin.bin_dir / "portmap").touch()
    assert not plugin.missing(PORTMAP)


def test_a_directory_that_cannot_be_looked_into_is_reported_and_is_no_fault(plugin: HostPlugin):
    """As root nothing is forbidden, so the system refuses for another reason here."""
    plugin.bin_dir.mkdir()
    with pytest.raises(AzureCniError, match=rf"^cannot look for {plugin.bin_dir}/ppp.*: File name too long; is the "):
        plugin.missing(ChainedPlugin({"type": "p" * 300}, unchain="x=y"))


@pytest.mark.parametrize("act", [HostPlugin.install_binary, lambda p: p.activate("{}"), HostPlugin.rivals])
def test_a_directory_that_is_not_there_is_named(plugin, act, tmp_path):
    (tmp_path / "file").touch()
    lost = HostPlugin(plugin.source, tmp_path / "file" / "bin", tmp_path / "file" / "net.d")
    with pytest.raises(
        AzureCniError, match=f"^cannot .*{tmp_path}/file/.*: Not a directory.*; is the node's directory"
    ):
        act(lost)


def test_an_image_without_the_binary_is_named(plugin):
    plugin.source.unlink()
    with pytest.raises(AzureCniError, match=rf"No such file or directory \({plugin.source}\)"):
        plugin.install_binary()


def test_a_link_within_the_directory_is_followed(plugin: HostPlugin):
    """k3s has one program under many names."""
    plugin.bin_dir.mkdir()
    (plugin.bin_dir / "portmap").symlink_to("cni")
    assert "portmap is missing" in plugin.missing(PORTMAP)
    assert not plugin.unseen("portmap")
    (plugin.bin_dir / "cni").touch()
    assert not plugin.missing(PORTMAP)


@pytest.mark.parametrize("target", ["/var/lib/rancher/k3s/data/current/bin/portmap", "../../usr/lib/cni/portmap"])
def test_a_link_to_where_the_agent_cannot_see_is_not_called_missing(plugin: HostPlugin, target: str):
    plugin.bin_dir.mkdir()
    (plugin.bin_dir / "portmap").symlink_to(target)
    assert not plugin.missing(PORTMAP)
    assert f"is a link to {target}, outside of what the agent sees" in plugin.unseen("portmap")


def test_a_link_to_itself_is_missing(plugin: HostPlugin):
    plugin.bin_dir.mkdir()
    (plugin.bin_dir / "portmap").symlink_to("portmap")
    assert "portmap is missing" in plugin.missing(PORTMAP)


def installed(plugin: HostPlugin) -> HostPlugin:
    plugin.install_binary()
    (plugin.bin_dir / "portmap").write_bytes(b"\x7fELF")
    plugin.activate("{}")
    return plugin


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p.bin_dir / "portmap").unlink(),
        lambda p: (p.bin_dir / "portmap").write_bytes(b""),
        lambda p: p.binary.chmod(0o600),
        lambda p: p.conflist.write_text("{ }"),
        lambda p: p.conflist.unlink(),
        lambda p: (p.conf_dir / "05-cilium.conflist").touch(),
        lambda p: shutil.rmtree(p.conf_dir),
        lambda p: shutil.rmtree(p.bin_dir),
    ],
)
def test_whatever_others_change_changes_the_signature(plugin: HostPlugin, change):
    before = installed(plugin).signature(("portmap",))
    assert plugin.signature(("portmap",)) == before
    change(plugin)
    assert plugin.signature(("portmap",)) != before
