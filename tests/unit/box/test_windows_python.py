"""CPython for the image for Windows nodes, out of the module that has it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from image_root.windows_python import unpack

DIRECTORY = 0x8000_01ED


def module(directory: Path, files: dict[str, bytes], *, compressed: bool = True) -> Path:
    """As the module has them: a list, and the files."""
    listed = [{"name": "Lib", "size": 0, "perm": DIRECTORY}]
    for name, content in files.items():
        path = directory / (f"{name}.gz" if compressed else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if compressed else content)
        perm = 0o755 if name.endswith(".exe") else 0o644
        listed.append({"name": name, "size": len(content), "perm": perm, "compressed": compressed})
    (directory / "files.json").write_text(json.dumps({"contentHash": "x", "files": listed}))
    return directory


@pytest.mark.parametrize("compressed", [True, False])
def test_files_are_unpacked_but_for_what_no_agent_loads(tmp_path: Path, *, compressed: bool) -> None:
    wanted = {"python.exe": b"MZ", "Lib/asyncio/windows_events.py": b"a", "DLLs/_ssl.pyd": b"b", "Lib/test.py": b"c"}
    left_out = dict.fromkeys(
        [
            "Lib/test/a.py",
            "Lib/idlelib/a.py",
            "tcl/a",
            "Lib/site-packages/pip/a.py",
            "Lib/site-packages/pip-26.dist-info/a",
        ],
        b"x",
    )
    source = module(tmp_path / "data", wanted | left_out, compressed=compressed)
    assert unpack(source, tmp_path / "out") == len(wanted)
    found = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == wanted
    assert found["python.exe"].stat().st_mode & 0o777 == 0o755
    assert found["Lib/test.py"].stat().st_mode & 0o777 == 0o644


def test_a_link_is_one_to_a_file_beside_it(tmp_path: Path) -> None:
    source = module(tmp_path / "data", {"bin/python3.14": b"x"})
    document = json.loads((source / "files.json").read_text())
    link = {"name": "bin/python3", "size": 10, "perm": 1 << 27, "symlink": "python3.14"}
    (source / "files.json").write_text(json.dumps({"files": [*document["files"], link]}))
    assert unpack(source, tmp_path / "out") == 2
    assert (tmp_path / "out" / "bin" / "python3").read_bytes() == b"x"
    (source / "files.json").write_text(json.dumps({"files": [link | {"symlink": "../../etc/passwd"}]}))
    with pytest.raises(ValueError, match=r"bin/python3 leads to ../../etc/passwd"):
        unpack(source, tmp_path / "other")


@pytest.mark.parametrize("name", ["../up", "/etc/up", "Lib/../../up"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    source = module(tmp_path / "data", {"a": b"x"})
    document = json.loads((source / "files.json").read_text())
    document["files"].append({"name": name, "perm": 0o644, "compressed": True})
    (source / "files.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="leads out of it"):
        unpack(source, tmp_path / "out")
