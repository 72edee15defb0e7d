"""What a plugin says of the versions that it speaks: programs that answer well, badly, late and not at all."""

from pathlib import Path

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.host.install import supported_versions
from azure_cni.host.run_directory import ServedMark
from fakes.waiting import PATIENCE_S


def program(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "portmap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def test_a_plugin_is_asked_as_the_specification_says(tmp_path: Path):
    asked = tmp_path / "asked"
    answer = '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0"]}'
    found = await supported_versions(program(tmp_path, f"{{ echo $CNI_COMMAND; cat; }} >{asked}; echo '{answer}'"))
    assert found == {"0.4.0", "1.0.0"}
    assert asked.read_text() == 'VERSION\n{"cniVersion":"1.1.0"}'


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("true", "it answers b''"),
        (r"""printf '{"supportedVersions":["\351"]}'""", r"""it answers b'{"supportedVersions":["\xe9"]}'"""),
        ("echo '{}'", "missing required field `supportedVersions`"),
        ("echo usage: portmap; exit 1", "it answers b'usage: portmap"),
        ("exec sleep 60", "no answer within 0 s"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_reported(tmp_path: Path, script: str, words: str):
    with pytest.raises(AzureCniError, match=r"^cannot ask .*/portmap for its versions: ") as failure:
        await supported_versions(program(tmp_path, script), answer_s=0.3 if "sleep" in script else PATIENCE_S)
    assert words in str(failure.value)


@pytest.mark.parametrize(
    ("content", "mode", "words"), [("\x7fELF of another machine", 0o755, "Exec format error"), ("", 0o644, "denied")]
)
async def test_what_cannot_be_run_here_is_reported(tmp_path: Path, content: str, mode: int, words: str):
    path = tmp_path / "portmap"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(AzureCniError, match=f"^cannot ask {path} for its versions: .*{words}"):
        await supported_versions(path)
    with pytest.raises(AzureCniError, match="No such file"):
        await supported_versions(tmp_path / "none")


def test_the_mark_comes_and_goes(tmp_path: Path):
    mark = ServedMark(tmp_path / "run")
    mark.clear()
    mark.set()
    mark.set()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["served"]
    mark.clear()
    assert not list((tmp_path / "run").iterdir())


def test_a_mark_that_cannot_be_written_is_reported(tmp_path: Path):
    (tmp_path / "run").touch()
    with pytest.raises(AzureCniError, match=r"^cannot write .*/run/served: "):
        ServedMark(tmp_path / "run").set()
    with pytest.raises(AzureCniError, match=r"^cannot remove .*/run/served: "):
        ServedMark(tmp_path / "run").clear()
