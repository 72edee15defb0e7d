"""The project's image is built again when something that decides it has changed, and for no other reason."""

import inspect
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from azurebox import image, project_image
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError

IGNORED = "# what is sent\n*\n!pyproject.toml\n!operator/azure_cni\n!operator/parts-*\n**/__pycache__\n**/*_test.go\n"
ensure = inspect.unwrap(project_image.ensure)
"""Without the lock, which a build on this machine may have for minutes."""
FILES = {
    "Dockerfile": "FROM x\n",
    ".dockerignore": IGNORED,
    "pyproject.toml": "[project]\n",
    "operator/azure_cni/a.py": "a = 1\n",
    "operator/azure_cni/deep/b.py": "b = 1\n",
    "operator/parts-1/c.go": "package c\n",
    "operator/azure_cni/deep/b_test.go": "package b\n",
    "operator/azure_cni/__pycache__/a.pyc": "\0",
    "docs/page.md": "text\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "repository"


def digest(repository: Path) -> str:
    return project_image.digest(repository, also=["base:1"])


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("Dockerfile", True),
        (".dockerignore", True),
        ("pyproject.toml", True),
        ("operator/azure_cni/a.py", True),
        ("operator/azure_cni/deep/b.py", True),
        ("operator/parts-1/c.go", True),
        ("operator/azure_cni/new.py", True),
        ("operator/azure_cni/deep/b_test.go", False),
        ("operator/azure_cni/__pycache__/a.pyc", False),
        ("docs/page.md", False),
        ("operator/other/d.py", False),
    ],
)
def test_what_the_builder_is_sent_counts_and_nothing_else(repository: Path, name: str, *, counts: bool):
    before = digest(repository)
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("# more\n")
    assert (digest(repository) != before) is counts


def test_who_may_execute_a_file_counts_and_when_it_was_written_does_not(repository: Path):
    before, path = digest(repository), repository / "operator/azure_cni/a.py"
    os.utime(path, (1, 1))
    assert digest(repository) == before
    path.chmod(0o755)
    assert digest(repository) != before


def test_a_name_a_link_and_a_base_count(repository: Path):
    before, path = digest(repository), repository / "operator/azure_cni/a.py"
    assert project_image.digest(repository, also=["base:2"]) != before
    path.rename(path.with_name("z.py"))
    renamed = digest(repository)
    path.with_name("z.py").rename(path)
    path.with_name("z.py").symlink_to("a.py")
    assert len({before, renamed, digest(repository)}) == 3


def test_all_that_the_dockerfile_copies_from_these_sources_counts():
    """The digest's own reading of .dockerignore lets through what the real Dockerfile needs."""
    words = [line.split() for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    copied = [source for line in words if not line[1].startswith("--from=") for source in line[1:-1]]
    sent = {path.relative_to(REPOSITORY) for path in project_image.sent(REPOSITORY)}
    assert copied
    for source in copied:
        assert any(path.is_relative_to(source) for path in sent), f"{source} does not count"
    assert not [path for path in sent if path.name.endswith(("_test.go", ".pyc")) or "testdata" in path.parts]


@pytest.fixture
def built(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cache with bases, and a builder that makes another image each time."""
    base, builds = tmp_path / "base.tar", list[str]()
    base.write_text("base")

    def capture(argv: list[str], **_: object) -> str:
        facts = {"FromImageID": f"{len(builds):012}", "Config": json.dumps({"config": {"Env": []}})}
        return json.dumps(facts) if "inspect" in argv else ""

    monkeypatch.setattr(project_image, "CACHE", tmp_path)
    monkeypatch.setattr(project_image, "capture", capture)
    for name, replacement in {
        "base_archive": lambda: base,
        "base_reference": lambda: "base:1",
        "go_reference": lambda: "go:1",
        "run_build": lambda *_: builds.append("built"),
        "write_archive": lambda _, path: path.write_text("archive"),
        "image_size": lambda _: 100 << 20,
        "prune": lambda **_: None,
    }.items():
        monkeypatch.setattr(image, name, replacement)
    return SimpleNamespace(repository=repository, base=base, builds=builds)


def test_an_image_of_the_same_is_not_built_again(built: SimpleNamespace):
    assert project_image.kept(built.repository) is None
    first = ensure(built.repository)
    assert ensure(built.repository) == first == project_image.kept(built.repository)
    assert len(built.builds) == 1


@pytest.mark.parametrize("change", ["a source", "the base", "the archive is gone", "the record is broken"])
def test_an_image_of_something_else_is_built(built: SimpleNamespace, change: str):
    first = ensure(built.repository)
    match change:
        case "a source":
            (built.repository / "pyproject.toml").write_text("[other]\n")
        case "the base":
            built.base.write_text("another base")
        case "the archive is gone":
            first.archive.unlink()
        case _:
            first.archive.with_name(project_image.BUILT).write_text("{")
    assert project_image.kept(built.repository) is None
    assert ensure(built.repository) != first
    assert len(built.builds) == 2


def test_sources_that_change_during_the_build_are_built_again(built: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    def build(*_: object) -> None:
        built.builds.append("built")
        (built.repository / "pyproject.toml").write_text("[written meanwhile]\n")

    monkeypatch.setattr(image, "run_build", build)
    ensure(built.repository)
    assert project_image.kept(built.repository) is None


def test_a_kept_image_must_fit_too(built: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    ensure(built.repository)
    monkeypatch.setattr(image, "MOST_MIB", 99)
    with pytest.raises(StepError, match="100 MiB unpacked, more than 99"):
        ensure(built.repository)
