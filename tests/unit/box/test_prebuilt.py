"""Kubernetes that somebody has already: from a directory, and from a release over real HTTP on loopback."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from azurebox import prebuilt, tools
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError

VERSION = tools.KUBERNETES_VERSION


def program(directory: Path, name: str, said: str) -> Path:
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{said}'\n")
    file.chmod(0o755)
    return file


def release(directory: Path, *, algorithm: str = "sha256") -> Path:
    """Programs that say what Kubernetes' say, with their checksums as they are published: without a name behind."""
    directory.mkdir()
    for name, probe in (tools.OF_A_RELEASE | {"agnhost": tools.TAKEN_TOO["agnhost"]}).items():
        file = program(directory, name, f"{probe.expected}\nKustomize Version: v5.8.1")
        digest = hashlib.new(algorithm, file.read_bytes()).hexdigest()
        (directory / f"{name}.{algorithm}").write_text(digest)
    return directory


class Server:
    """Serves a directory; `answers` has what is answered instead, by path: a status, or an address to go to."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, int | str] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any, **more: Any) -> None:
                super().__init__(*args, directory=str(directory), **more)

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                match outer.answers.get(self.path):
                    case int(status):
                        self.send_error(status)
                    case str(address):
                        self.send_response(302)
                        self.send_header("Location", address)
                        self.end_headers()
                    case None:
                        super().do_GET()

            def log_message(self, *_: object) -> None:
                """No lines of it among the test's."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(release(tmp_path / "release"))
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tools, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # loopback is asked without it

    def never() -> Path:
        raise AssertionError("there was something to build")

    monkeypatch.setattr(tools, "ensure_go", never)
    return tmp_path / "cache"


def kept(cache: Path) -> set[str]:
    """All that is in the cache, hidden files too."""
    return {file.name for file in cache.rglob("*") if not file.is_dir()}


ALL = {*tools.OF_A_RELEASE, "agnhost"}


def take(monkeypatch: pytest.MonkeyPatch, where: object) -> None:
    monkeypatch.setenv(prebuilt.VARIABLE, str(where))
    tools.ensure_tools((tools.KUBERNETES,))


def refused(monkeypatch: pytest.MonkeyPatch, where: object) -> str:
    with pytest.raises(StepError) as caught:
        take(monkeypatch, where)
    return str(caught.value)


def test_a_directory_is_taken_and_nothing_is_built(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, release(tmp_path / "mine"))
    assert kept(cache) == ALL
    for name in ALL:
        assert tools.path(name).read_bytes() == (tmp_path / "mine" / name).read_bytes()
        assert tools.path(name).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("algorithm", prebuilt.CHECKSUMS)
def test_a_release_is_taken_by_its_checksums(
    algorithm: str, cache: Path, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    release(tmp_path / "release" / "v1", algorithm=algorithm)
    take(monkeypatch, f"{served.url}/v1/")
    assert kept(cache) == ALL


def test_what_is_kept_is_not_asked_for_again(cache: Path, served: Server, monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, served.url)
    served.asked.clear()
    take(monkeypatch, served.url)
    assert served.asked == []


@pytest.mark.parametrize("where", ["a directory", "a release"])
def test_a_program_that_is_missing_is_named(
    where: str, cache: Path, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "release" / "kube-apiserver").unlink()
    (tmp_path / "release" / "kube-apiserver.sha256").unlink()
    said = refused(monkeypatch, served.url if where == "a release" else tmp_path / "release")
    assert "cannot take kube-apiserver from " in said
    assert "unset it to build them from source" in said
    assert kept(cache) == set()
    assert not list(cache.iterdir()), "not even a directory"


@pytest.mark.parametrize("version", ["v1.36.2", "v1.36.30", "v1.36.3-rc.0", "v11.36.3"])
def test_another_version_is_refused_with_both(
    version: str, cache: Path, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = program(tmp_path / "release", "kube-apiserver", f"Kubernetes {version}")
    (tmp_path / "release" / "kube-apiserver.sha256").write_text(hashlib.sha256(file.read_bytes()).hexdigest())
    said = refused(monkeypatch, served.url)
    assert f"it says 'Kubernetes {version}', and the box needs Kubernetes {VERSION}" in said
    assert kept(cache) == set()


def test_what_does_not_run_here_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (release(tmp_path / "mine") / "kube-apiserver").write_bytes(b"\x7fELF of another machine")
    assert "cannot use kube-apiserver: it does not run on this machine" in refused(monkeypatch, tmp_path / "mine")
    assert kept(cache) == set()


@pytest.mark.parametrize(
    ("checksum", "words"),
    [
        ("0" * 64, "its sha256 is "),
        ("", "cannot use "),
        ("<html>moved</html>", "it begins with '<html>moved</html>'"),
        ("0" * 128, "cannot use "),
    ],
)
def test_a_checksum_that_does_not_fit_leaves_nothing(
    checksum: str, words: str, cache: Path, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "release" / "kube-apiserver.sha256").write_text(checksum)
    assert words in refused(monkeypatch, served.url)
    assert kept(cache) == set()


def test_a_program_without_a_checksum_is_not_taken(
    cache: Path, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "release" / "kube-apiserver.sha256").unlink()
    assert "not beside its .sha256 or .sha512" in refused(monkeypatch, served.url)
    assert "/kube-apiserver" not in served.asked
    assert kept(cache) == set()


def test_a_program_that_has_no_end_is_cut_off(cache: Path, served: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prebuilt, "MOST_BYTES", 20)
    assert "it has more than" in refused(monkeypatch, served.url)
    assert kept(cache) == set()


@pytest.mark.parametrize("path", ["/kube-apiserver", "/kube-apiserver.sha256"])
def test_a_server_in_trouble_is_no_missing_program(
    path: str, cache: Path, served: Server, monkeypatch: pytest.MonkeyPatch
):
    served.answers[path] = 500
    said = refused(monkeypatch, served.url)
    assert f"{served.url}{path}" in said
    assert "500" in said
    assert kept(cache) == set()


def test_a_server_that_is_away(cache: Path, served: Server, monkeypatch: pytest.MonkeyPatch):
    said = refused(monkeypatch, "http://127.0.0.1:1")
    assert "cannot read http://127.0.0.1:1/kube-apiserver.sha256" in said
    assert prebuilt.VARIABLE in said


@pytest.mark.parametrize(
    "address",
    ["http://198.51.100.1/bin", "ftp://127.0.0.1/bin", "https://user:secret@localhost/", "http://127.0.0.1.example/"],
)
def test_only_tls_or_loopback(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch):
    said = refused(monkeypatch, address)
    assert "must be https, or on loopback" in said
    assert "secret" not in said


def test_a_redirect_leads_nowhere_else(cache: Path, served: Server, monkeypatch: pytest.MonkeyPatch):
    served.answers["/kube-apiserver"] = "http://198.51.100.1/kube-apiserver"
    assert "must be https, or on loopback" in refused(monkeypatch, served.url)
    assert kept(cache) == set()
    served.answers["/kube-apiserver"] = f"{served.url}/kubectl"
    assert "its sha256 is" in refused(monkeypatch, served.url), "another program's"


def test_a_place_that_is_no_directory(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "it is no directory" in refused(monkeypatch, tmp_path / "nothing")


def test_other_tools_of_another_version_are_built(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A directory of programs may have any helm."""
    program(release(tmp_path / "mine"), "helm", "v3.14.0")
    monkeypatch.setenv(prebuilt.VARIABLE, str(tmp_path / "mine"))
    with pytest.raises(AssertionError, match="something to build"):
        tools.ensure_tools((tools.HELM,))
    assert "it says 'v3.14.0', and the box needs v3.22.0" in capsys.readouterr().out
    program(tmp_path / "mine", "helm", f"{tools.HELM_VERSION}+g3b2a1c0")
    tools.ensure_tools((tools.HELM,))
    assert kept(cache) == {"helm"}


def test_what_one_place_lacks_comes_from_the_next(
    cache: Path, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A release of Kubernetes, and a directory with the rest."""
    (tmp_path / "release" / "agnhost").unlink()
    (tmp_path / "release" / "agnhost.sha256").unlink()
    rest = tmp_path / "rest"
    rest.mkdir()
    program(rest, "agnhost", "")
    program(rest, "helm", tools.HELM_VERSION)
    program(rest, "kubectl", "Client Version: v1.30.0")
    monkeypatch.setenv(prebuilt.VARIABLE, f"{rest} {served.url}")
    tools.ensure_tools((tools.KUBERNETES, tools.HELM))
    assert kept(cache) == ALL | {"helm"}
    assert "/helm.sha256" not in served.asked
    assert VERSION in tools.path("kubectl").read_text(), "the first place has another"


def test_what_no_place_has_is_named_with_all_of_them(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("one", "two"):
        (release(tmp_path / name) / "kubelet").unlink()
    said = refused(monkeypatch, f"{tmp_path}/one {tmp_path}/two")
    assert f"cannot take kubelet from {tmp_path}/one: it is not there; {tmp_path}/two: it is not there" in said


def test_a_directory_may_have_a_blank_in_its_name(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, release(tmp_path / "my programs"))
    assert kept(cache) == ALL


def test_the_versions_are_those_that_are_pinned():
    for module, line in (
        (tools.COREDNS, f"github.com/coredns/coredns v{tools.COREDNS_VERSION}"),
        (tools.REFERENCE, f"github.com/containernetworking/plugins {tools.REFERENCE_VERSION}"),
        (tools.KUBERNETES, f"k8s.io/kubernetes {VERSION}"),
        (tools.HELM, f"helm.sh/helm/v3 {tools.HELM_VERSION}"),
    ):
        assert line in (module.source / "go.mod").read_text()


def test_the_page_names_the_versions_that_are_taken():
    page = (
        (REPOSITORY / "e2e" / "README.md").read_text().partition("## Programs that you have")[2].partition("\n## ")[0]
    )
    for program, version in (
        ("containerd", tools.CONTAINERD_VERSION),
        ("coredns", tools.COREDNS_VERSION),
        ("cni-plugins-linux-amd64", tools.REFERENCE_VERSION),
        ("helm", tools.HELM_VERSION),
        ("", VERSION),
    ):
        assert re.search(rf"{program}\S*[-_/]{re.escape(version)}[-_/.]", page), program
    for name in tools.OF_A_RELEASE | tools.TAKEN_TOO:
        assert f"`{name}`" in page
