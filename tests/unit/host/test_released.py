"""Records of DELs that no agent answered, as the binary writes them."""

import json
from pathlib import Path

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.host.run_directory import Released
from azure_cni.ipam.address_state import Sandbox
from azure_cni.node.recorded_deletes import Records

REQUESTS = Path(__file__).parents[3] / "operator" / "cni-plugin" / "testdata" / "requests"


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "released"
    path.mkdir()
    return path


def look(released: Released) -> Records:
    """All that is there."""
    return released.read(released.names())


def put(directory: Path, name: str, container_id: str) -> Path:
    path = directory / name
    path.write_text(json.dumps({"containerID": container_id, "ifname": "eth0", "config": {"name": "azure-cni"}}))
    return path


def test_without_a_directory_there_is_nothing(tmp_path):
    found = look(Released(tmp_path / "released"))
    assert (found.pending, found.bad) == ((), ())


@pytest.mark.parametrize("request_file", sorted(REQUESTS.glob("del-*.json")), ids=lambda path: path.stem)
def test_what_the_binary_writes_is_read(directory, request_file):
    (directory / "a.json").write_bytes(request_file.read_bytes())
    found = look(Released(directory))
    assert [record.sandbox[::2] for record in found.pending] == [("azure-cni", "eth0")]
    assert found.bad == ()


def test_a_record_is_looked_for_by_the_name_that_the_binary_gives_it(directory):
    """The binary's tests have the same name: `operator/cni-plugin/record_test.go`."""
    container = "4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1"
    released = Released(directory)
    name = released.name_of(Sandbox("azure-cni", container, "eth0"))
    assert name == "5ced3d9a1d7d6402ad82f42355d3dcf0.json"
    assert not released.has(name)
    put(directory, name, container)
    assert released.has(name)
    assert not Released(directory / name).has(name)  # a file in the place of the directory


def test_a_record_without_a_network_is_of_an_unknown_one(directory):
    (directory / "a.json").write_text('{"containerID": "c1", "ifname": "eth0"}')
    (record,) = look(Released(directory)).pending
    assert record.sandbox == Sandbox("", "c1", "eth0")


def test_a_record_stays_until_it_is_acknowledged(directory):
    for name, container in (("b.json", "c2"), ("a.json", "c1")):
        put(directory, name, container)
    released = Released(directory)
    first, second = look(released).pending
    assert (first.sandbox, second.sandbox) == (Sandbox("azure-cni", "c1", "eth0"), Sandbox("azure-cni", "c2", "eth0"))
    released.acknowledge(first)
    released.acknowledge(first)
    assert look(Released(directory)).pending == (second,)


def test_a_file_that_is_being_written_is_not_looked_at(directory):
    put(directory, ".a.json.12345", "c1")
    put(directory, ".b.json", "c1")
    found = look(Released(directory))
    assert (found.pending, found.bad) == ((), ())
    assert len(list(directory.iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot read the del request"),
        (b'{"containerID": "c1"', "cannot read the del request"),
        (b'{"containerID": "c\xe9", "ifname": "eth0"}', "cannot read the del request"),
        (b'{"config": ' + b"[" * 9000, "cannot read the del request"),
        (b'{"containerID": "../c1", "ifname": "eth0", "config": {}}', "cannot use CNI_CONTAINERID"),
        (b" " * (2**20 + 1), "more than 1048576 bytes"),
        (None, "it is not a file"),
    ],
)
def test_a_bad_one_is_moved_aside_reported_once_and_stops_nobody(directory, content, words):
    bad = directory / "a.json"
    bad.mkdir() if content is None else bad.write_bytes(content)
    put(directory, "b.json", "c2")
    released = Released(directory)
    found = look(released)
    assert [record.sandbox.container_id for record in found.pending] == ["c2"]
    (reported,) = found.bad
    assert reported.startswith(f"cannot carry out the release a.json, moved to {directory}/bad/a.json: ")
    assert words in reported
    assert (directory / "bad" / "a.json").exists()
    assert look(released).bad == ()


def test_a_record_that_cannot_be_removed_is_said_so(directory):
    path = put(directory, "a.json", "c1")
    released = Released(directory)
    (record,) = look(released).pending
    path.unlink()
    path.mkdir()
    with pytest.raises(AzureCniError, match=r"cannot remove the release a\.json: "):
        released.acknowledge(record)


@pytest.mark.parametrize("in_the_way", ["file", "directory"])
def test_one_that_cannot_be_moved_aside_stays_and_stops_nobody(directory, in_the_way):
    if in_the_way == "file":
        (directory / "bad").write_text("somebody's notes")
    else:
        (directory / "bad" / "a.json" / "more").mkdir(parents=True)
    (directory / "a.json").write_bytes(b"{")
    put(directory, "b.json", "c2")
    for _ in range(2):
        found = look(Released(directory))
        assert [record.sandbox.container_id for record in found.pending] == ["c2"]
        (reported,) = found.bad
        assert reported.startswith(f"cannot carry out the release {directory}/a.json: cannot read the del request")
        assert f"(nor move it to {directory}/bad: " in reported
    assert (directory / "a.json").read_bytes() == b"{"


def test_one_that_cannot_be_read_stays_and_stops_nobody(directory):
    loop = directory / "a.json"
    loop.symlink_to(loop)
    put(directory, "b.json", "c2")
    found = look(Released(directory))
    assert [record.sandbox.container_id for record in found.pending] == ["c2"]
    assert len(found.bad) == 1
    assert "a.json" in found.bad[0]


def test_a_file_in_the_place_of_the_directory_is_said_so(tmp_path):
    (tmp_path / "released").touch()
    with pytest.raises(AzureCniError, match=r"cannot read the releases in .*Not a directory; pods that end while"):
        look(Released(tmp_path / "released"))


def test_one_that_goes_between_two_looks_is_no_failure(directory):
    put(directory, "a.json", "c1")
    released = Released(directory)
    names = released.names()
    (directory / "a.json").unlink()
    assert released.read(names) == Records()
