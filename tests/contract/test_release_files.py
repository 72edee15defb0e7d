"""What docs/verify.md says of the files of a release, without cosign; and what is never signed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract import oci_push
from contract.released import CHART, MAIL, PINNED, VERSION, Verifier, a_registry, make, older_chart
from release import artifacts, contents, oci_index, sign
from release.versions import ReleaseError

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg here")
PLUGIN = "azure-cni-plugin-linux-amd64"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifier]:
    folder, home = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("home")
    make(folder)
    verifier = Verifier(folder, home)
    verifier.make_key_of_the_chart()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(home))
        sign.main([str(folder), "--gpg", MAIL])
    verifier.take_keys()
    yield verifier
    verifier.run("gpgconf --kill all")


@pytest.fixture
def changed(release: Verifier, tmp_path: Path) -> Verifier:
    return release.elsewhere(tmp_path / "changed")


@pytest.fixture
def unsigned(changed: Verifier) -> Path:
    """The folder as `make release` leaves it."""
    for name in (f"{CHART}{sign.PROVENANCE}", "keyring.gpg"):
        (changed.folder / name).unlink()
    return changed.folder


def test_the_files_and_the_chart_are_accepted(release: Verifier):
    second, fifth = release.page(2), release.page(5)
    assert f"{CHART}: OK\n" in second.stdout
    assert "Chart Hash Verified: sha256:" in fifth.stdout


@pytest.mark.parametrize("name", [CHART, PLUGIN, "image.spdx.json", f"azure-cni-{VERSION}-image.digest"])
def test_a_file_that_was_changed_is_named(changed: Verifier, name: str):
    with (changed.folder / name).open("ab") as file:
        file.write(b"x")
    done = changed.page(2, check=False)
    assert (done.returncode, f"{name}: FAILED" in done.stdout) == (1, True)


def test_a_chart_that_was_changed_is_refused_by_helm(changed: Verifier):
    with (changed.folder / CHART).open("ab") as file:
        file.write(b"x")
    done = changed.page(5, check=False)
    assert (done.returncode != 0, "sha256 sum does not match" in done.stderr) == (True, True)


def test_who_takes_a_part_of_the_files_verifies_that_part(changed: Verifier):
    for path in changed.folder.iterdir():
        if path.name not in {PLUGIN, artifacts.SUMS}:
            path.unlink()
    assert f"\n{PLUGIN}: OK\n" in changed.page(2).stdout


def test_a_file_beside_those_of_the_list_is_named(changed: Verifier):
    (changed.folder / "azure-cni_9.9.9-1_amd64.deb").write_text("of somebody else")
    done = changed.page(2, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1][64:]) == (1, "  azure-cni_9.9.9-1_amd64.deb")


@pytest.mark.parametrize("other", ["0.0.9", f"{VERSION}0"])
def test_a_list_of_another_release_does_not_do_for_this_one(changed: Verifier, other: str):
    for path in changed.folder.glob(f"azure-cni-{VERSION}*"):
        path.rename(path.with_name(path.name.replace(VERSION, other)))
    artifacts.write_sums(changed.folder)
    done = changed.page(2, check=False)
    assert (done.returncode, done.stdout) == (1, "0\n")


def test_an_older_chart_under_this_versions_name_is_refused(
    changed: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GNUPGHOME", str(changed.home))
    older = older_chart(changed.folder, tmp_path)
    changed.run(f"helm verify --keyring keyring.gpg {older}")
    done = changed.page(5, check=False)
    assert (done.returncode != 0, "provenance does not contain a SHA" in done.stderr) == (True, True), done.stderr


def test_the_chart_goes_to_a_registry_and_back_with_its_signature(release: Verifier, tmp_path: Path):
    with a_registry() as registry:
        release.run(f"helm push {CHART} oci://{registry}/charts --plain-http")
        pull = f"helm pull oci://{registry}/charts/azure-cni --version {VERSION} --plain-http"
        release.run(f"{pull} --verify --keyring keyring.gpg -d {tmp_path}")
        for name in (CHART, f"{CHART}{sign.PROVENANCE}"):
            assert (tmp_path / name).read_bytes() == (release.folder / name).read_bytes()
        gpg = f"gpg --homedir {tmp_path}/gpg"
        release.run(
            f"mkdir -m 700 {tmp_path}/gpg {tmp_path}/none && {gpg} --batch --pinentry-mode loopback --passphrase ''"
            f" --quick-generate-key another rsa2048 sign never && {gpg} --export > {tmp_path}/other.gpg"
        )
        done = release.run(f"{pull} --verify --keyring {tmp_path}/other.gpg -d {tmp_path}/none", check=False)
        release.run(f"gpgconf --homedir {tmp_path}/gpg --kill all")
    assert (done.returncode, "signature made by unknown entity" in done.stderr) == (1, True), done.stderr


def test_the_image_goes_to_a_registry_as_it_is(release: Verifier):
    """Whoever asks there by the digest that the list has gets the index, and by the index each image."""
    archive = contents.image_file(release.folder, VERSION)
    index, *images = oci_index.digests(archive)
    assert contents.digest_file(release.folder, VERSION).read_text() == f"{index}\n"
    with a_registry() as registry:
        oci_push.push(registry, "azure-cni", archive)
        manifests = json.loads(oci_push.get_manifest(registry, "azure-cni", index))["manifests"]
        found = {one["platform"]["architecture"]: one["digest"] for one in manifests}
        assert list(found) == ["amd64", "arm64"]
        assert list(found.values()) == images
        for digest in images:
            content = oci_push.get_manifest(registry, "azure-cni", digest)
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest


@pytest.mark.parametrize("name", [CHART, "image.spdx.json", contents.STATEMENT])
def test_a_folder_in_which_a_file_was_changed_is_not_signed(unsigned: Path, name: str):
    with (unsigned / name).open("a") as file:
        file.write(" ")
    with pytest.raises(SystemExit, match=rf"are not as SHA256SUMS lists them: {name};"):
        sign.main([str(unsigned), "--gpg", MAIL])
    assert not list(unsigned.glob(f"*{sign.PROVENANCE}"))


def test_nor_one_in_which_a_file_is_missing_or_not_listed(unsigned: Path):
    (unsigned / PLUGIN).rename(unsigned / "another")
    with pytest.raises(ReleaseError, match=rf"lists them: another, {PLUGIN};"):
        sign.check(unsigned)


def test_an_image_that_is_not_the_releases_is_not_signed(unsigned: Path):
    other = f"127.0.0.1:1/azure-cni@sha256:{'0' * 64}"
    wanted = contents.digest_file(unsigned, VERSION).read_text().strip()
    with pytest.raises(ReleaseError, match=f"cannot sign {other}: the image of .* is {wanted}; push that one"):
        sign.sign_image(unsigned, "key", other)
    contents.image_file(unsigned, VERSION).unlink()
    with pytest.raises(ReleaseError, match="has 0 of them, and must have one; make release IMAGE=yes"):
        sign.sign_image(unsigned, "key", other)


def test_the_statement_names_each_file_and_the_command_that_makes_the_image_too(release: Verifier):
    statement = json.loads((release.folder / contents.STATEMENT).read_text())
    listed = artifacts.sums(release.folder)
    named = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert {CHART, PLUGIN, f"azure-cni-{VERSION}-image.tar", f"azure-cni-{VERSION}-image.digest"} <= named.keys()
    assert named.items() <= listed.items()
    command = statement["predicate"]["buildDefinition"]["externalParameters"]["command"]
    assert command == f"make release VERSION={VERSION} IMAGE=yes"


def test_a_tag_is_not_signed(unsigned: Path):
    with pytest.raises(ReleaseError, match="what a tag names may change"):
        sign.sign_image(unsigned, "key", "127.0.0.1:1/azure-cni:1")


@pytest.mark.parametrize(("name", "parts"), [("image.spdx.json", "packages"), ("image.cdx.json", "components")])
def test_the_lists_of_the_image_have_each_pin_and_debians_packages_for_both_processors(
    release: Verifier, name: str, parts: str
):
    text = (release.folder / name).read_text()
    listed = {one["name"]: one for one in json.loads(text)[parts]}
    assert {one.name for one in PINNED} <= listed.keys()
    for processor in ("amd64", "arm64"):
        assert f'pkg:deb/debian/libc6@2.41?arch={processor}&distro=debian-13"' in text


def test_without_a_key_cosign_finds_out_who_signs(unsigned: Path, monkeypatch: pytest.MonkeyPatch):
    said: list[list[str]] = []
    monkeypatch.setattr(sign, "_run", lambda command, **_: said.append(command))
    name = f"127.0.0.1:1/azure-cni@{contents.digest_file(unsigned, VERSION).read_text().strip()}"
    sign.main([str(unsigned), "--keyless", "--image", name])
    signed, keyless = [words[2] for words in said], {word for words in said for word in words}
    assert signed == 3 * ["sign", "attest", "attest", "attest"] + ["sign-blob"]
    assert keyless.isdisjoint({"--key", "--signing-config"})
    sign.main([str(unsigned), "--key", "x", "--image", name])
    assert all({"--key", "--signing-config"} <= set(words) for words in said[len(signed) :])
