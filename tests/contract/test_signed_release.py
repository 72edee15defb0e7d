"""docs/verify.md, command by command, on a release that is signed with keys of this test, and a registry on loopback.

cosign is built from source, which takes minutes: `e2e/box cosign version` does it once, and `make e2e-full` runs this.
What needs no cosign is in test_release_files.py.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from azurebox import tools
from contract import oci_push
from contract.released import BY_DIGEST, CHART, MAIL, PINNED, VERSION, Verifier, a_registry, make
from release import artifacts, contents, oci_index, sign

pytestmark = [
    pytest.mark.skipif(
        not tools.path("cosign").exists(), reason="cosign is not built: `e2e/box cosign version` builds it"
    ),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg here"),
]

ATTESTED = "cosign verify-attestation --allow-http-registry --key cosign.pub --insecure-ignore-tlog --type"


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with a_registry() as address:
        yield address


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Verifier]:
    folder, home = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("home")
    make(folder)
    oci_push.push(registry, "azure-cni", contents.image_file(folder, VERSION))
    verifier = Verifier(folder, home, registry)
    verifier.make_key_of_the_chart()
    verifier.run(f"cd {home} && cosign generate-key-pair && mkdir other && cd other && cosign generate-key-pair")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COSIGN_PASSWORD", "GNUPGHOME", "DOCKER_CONFIG"):
            patch.setenv(name, verifier.environment[name])
        key = ("--key", str(home / "cosign.key"), "--gpg", MAIL)
        sign.main([str(folder), *key, "--image", verifier.image, "--plain-http"])
    verifier.take_keys()
    yield verifier
    verifier.run("gpgconf --kill all")


def other_image(release: Verifier, name: str, content: str) -> str:
    """Another image for both processors, in the same registry; its digest."""
    archive = release.home / "other.tar"
    digest = oci_push.image(archive, {"file": content})
    oci_push.push(release.registry, name, archive)
    return digest


def attached(release: Verifier, kind: str, image: str) -> dict[str, object]:
    payload = json.loads(release.run(f"{ATTESTED} {kind} {image}").stdout.splitlines()[0])["payload"]
    statement: dict[str, object] = json.loads(base64.b64decode(payload))
    return statement


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_what_was_released_passes_each_command(release: Verifier, number: int):
    release.page(number)


def test_each_image_of_the_index_is_signed_too_with_all_that_is_attached(release: Verifier):
    index, *images = oci_index.digests(contents.image_file(release.folder, VERSION))
    assert len(images) == 2
    for digest in (index, *images):
        reference = f"{release.registry}/azure-cni@{digest}"
        release.page(3, image=reference)
        statement = json.loads(release.page(4, image=reference).stdout)
        assert statement["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
        for kind in ("cyclonedx", "slsaprovenance1"):
            attached(release, kind, reference)


def test_the_list_of_contents_that_is_attached_has_each_pinned_package(release: Verifier):
    statement = json.loads(release.page(4).stdout)
    assert {one.name for one in PINNED} | {"libc6"} <= {one["name"] for one in statement["predicate"]["packages"]}
    assert statement["predicate"] == json.loads((release.folder / "image.spdx.json").read_text())


def test_the_other_attachments_are_those_of_the_folder(release: Verifier):
    assert attached(release, "cyclonedx", release.image)["predicate"] == json.loads(
        (release.folder / "image.cdx.json").read_text()
    )
    statement = json.loads((release.folder / contents.STATEMENT).read_text())
    assert attached(release, "slsaprovenance1", release.image)["predicate"] == statement["predicate"]


def test_a_list_that_was_changed_with_its_files_fails(release: Verifier, tmp_path: Path):
    changed = release.elsewhere(tmp_path / "changed")
    with (changed.folder / CHART).open("ab") as file:
        file.write(b"x")
    lines = (changed.folder / artifacts.SUMS).read_text().splitlines()
    digests = artifacts.sums(changed.folder)
    names = [line.partition("  ")[2] for line in lines]
    (changed.folder / artifacts.SUMS).write_text("".join(f"{digests[name]}  {name}\n" for name in names))
    changed.page(2)
    first = changed.page(1, check=False)
    assert (first.returncode, "invalid signature" in first.stderr) == (1, True)


def test_a_list_whose_signature_is_of_another_list_or_key_fails(release: Verifier, tmp_path: Path):
    changed = release.elsewhere(tmp_path / "changed")
    (changed.folder / artifacts.SUMS).write_text(f"{'0' * 64}  azure-cni\n")
    first = changed.page(1, check=False)
    assert (first.returncode, "invalid signature" in first.stderr) == (1, True)
    shutil.copy(release.home / "other" / "cosign.pub", changed.folder)
    shutil.copy(release.folder / artifacts.SUMS, changed.folder)
    assert changed.page(1, check=False).returncode == 1


def test_an_image_that_nobody_signed_and_one_of_another_key_fail(release: Verifier):
    unsigned = f"{release.registry}/other@{other_image(release, 'other', 'unsigned')}"
    for number, words in ((3, "no signatures found"), (4, "no matching attestations")):
        done = release.page(number, check=False, image=unsigned)
        assert (done.returncode != 0, words in done.stderr) == (True, True)
    words = f"cosign verify --allow-http-registry --insecure-ignore-tlog --key {release.home}/other/cosign.pub"
    done = release.run(f"{words} {release.image}", check=False)
    assert (done.returncode != 0, "accepted signatures do not match threshold" in done.stderr) == (True, True)


def test_the_signatures_of_one_image_do_not_hold_for_another(release: Verifier):
    """Whoever may write to the registry puts them there; in the same repository, and with the image under the tag."""
    name, digest = "azure-cni", other_image(release, "azure-cni", "of an attacker")
    right = contents.digest_file(release.folder, VERSION).read_text().strip()
    assert oci_push.put_signatures_of(release.registry, name, of=right, onto=digest) >= 4
    for number in (3, 4):
        done = release.page(number, check=False, image=f"{release.registry}/{name}@{digest}")
        said = "provided artifact digest does not match any digest in statement" in done.stderr
        assert (done.returncode != 0, said, "Traceback" in done.stderr) == (True, True, False), done.stderr


def test_an_index_that_leads_to_another_image_is_signed_by_nobody(release: Verifier):
    """It has the signed image for amd64, and somebody else's for arm64; the tag leads to it."""
    right = contents.digest_file(release.folder, VERSION).read_text().strip()
    other = other_image(release, "azure-cni", "another of an attacker")
    index, others = (json.loads(oci_push.get_manifest(release.registry, "azure-cni", one)) for one in (right, other))
    index["manifests"][1] = others["manifests"][1]
    mixed = oci_push.put_manifest(
        release.registry, "azure-cni", oci_push.INDEX, json.dumps(index).encode(), tag=VERSION
    )
    for reference in (f"azure-cni:{VERSION}", f"azure-cni@{mixed}"):
        done = release.page(3, check=False, image=f"{release.registry}/{reference}")
        assert (done.returncode != 0, "no signatures found" in done.stderr) == (True, True), done.stderr
    release.page(3)


def test_a_list_of_contents_that_somebody_else_attaches_is_not_shown(release: Verifier, tmp_path: Path):
    shorter = json.loads((release.folder / "image.spdx.json").read_text())
    shorter["packages"] = shorter["packages"][:1]
    (tmp_path / "shorter.json").write_text(json.dumps(shorter))
    (tmp_path / "settings.json").write_text(json.dumps(sign.NO_SERVICES))
    release.run(
        f"cosign attest --yes --allow-http-registry --key {release.home}/other/cosign.key --type spdxjson"
        f" --signing-config {tmp_path}/settings.json --predicate {tmp_path}/shorter.json {release.image}"
    )
    shown = release.run(f"{ATTESTED} spdxjson {release.image}").stdout.splitlines()
    assert len(shown) == 1
    assert len(json.loads(release.page(4).stdout)["predicate"]["packages"]) > len(PINNED)


def test_the_page_names_the_image_by_the_digest_that_the_list_has():
    assert BY_DIGEST in (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
