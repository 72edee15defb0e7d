"""What the workflows take from others has a version: a new one of theirs changes nothing here unseen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yaml"))
ACTION = re.compile(r"^\s*(?:- )?uses: (\S+)", re.MULTILINE)
IMAGE = re.compile(r"docker run (?:--?\S+ )*(\S+)")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_and_images_have_a_version(workflow: Path) -> None:
    text = workflow.read_text()
    assert [one for one in ACTION.findall(text) if not re.search(r"@(?:v\d|[0-9a-f]{40}$)", one)] == []
    assert [one for one in IMAGE.findall(text) if not re.search(r":(?!latest$)\S+$", one)] == []


def test_an_image_without_a_version_is_seen() -> None:
    assert IMAGE.findall("docker run --rm --privileged tonistiigi/binfmt --install arm64") == ["tonistiigi/binfmt"]
    assert not re.search(r":(?!latest$)\S+$", "tonistiigi/binfmt")
