"""Signatures of a release, for who signs with keys of their own: `make sign FOLDER=dist/0.2.0 KEY=cosign.key GPG=ID`.

SHA256SUMS is signed by cosign, and with it every file that it lists; the chart by gpg, in the form that `helm verify`
and `helm install --verify` read. Of the image the index is signed, and each image in it: some who verify look at what
runs on the node, and that is one of these. A signature has a time and chance in it, so none is part of SHA256SUMS. The
workflow of releases signs without a key, by its own identity.

Nothing is signed but what the list names as it is: a folder in which a file was changed is refused, and so is an image
that is not the folder's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from release import artifacts, oci_index
from release.artifacts import SUMS
from release.contents import STATEMENT
from release.versions import ReleaseError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
BUNDLE: Final = f"{SUMS}.sigstore.json"
PROVENANCE: Final = ".prov"
NO_SERVICES: Final = {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}
"""cosign's signing configuration without a public log, which a signature by a key does not need."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Sign what is in a folder."""
    parser = argparse.ArgumentParser(description="Sign a release of azure-cni.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--key", help="cosign's private key, a file or the URI of a key store; COSIGN_PASSWORD opens it"
    )
    parser.add_argument(
        "--keyless", action="store_true", help="in a key's place who runs this, as cosign finds out; in the public log"
    )
    parser.add_argument("--gpg", help="the fingerprint or mail address of gpg's key for the chart")
    parser.add_argument("--image", help="in a registry, by digest: signed by cosign as well, with lists of contents")
    parser.add_argument("--plain-http", action="store_true", help="that registry has no TLS")
    options = parser.parse_args(arguments)
    if not (options.key or options.gpg or options.keyless):
        sys.exit("cannot sign: neither --key nor --gpg names a key, and there is no --keyless")
    try:
        check(options.folder.resolve())
        if options.image and (options.key or options.keyless):
            sign_image(options.folder.resolve(), options.key, options.image, plain_http=options.plain_http)
        if options.key or options.keyless:
            print(sign_sums(options.folder.resolve(), options.key))
        if options.gpg:
            print(sign_chart(chart_of(options.folder.resolve()), options.gpg))
    except ReleaseError as error:
        sys.exit(str(error))


def check(folder: Path) -> None:
    """Look at whether the files are those of the list of sums; signatures made before may be there, too.

    Raises:
        ReleaseError: there is no list, or a file is missing, changed, or not listed.

    """
    other = artifacts.differing(_read(folder / SUMS), folder, apart=lambda name: name.endswith((BUNDLE, PROVENANCE)))
    if other:
        raise ReleaseError(
            f"cannot sign: in {folder} these are not as {SUMS} lists them: {', '.join(other)}; remove what does not "
            "belong there, or make the release again"
        )


def sign_sums(folder: Path, key: str | None) -> Path:
    """Sign the list of sums by cosign; the bundle with the signature. `key`: None for none.

    Raises:
        ReleaseError: cosign cannot sign.

    """
    _cosign("sign-blob", "--bundle", str(folder / BUNDLE), str(folder / SUMS), key=key, what=f"sign {SUMS}")
    return folder / BUNDLE


def sign_image(folder: Path, key: str | None, reference: str, *, plain_http: bool = False) -> None:
    """Sign a release's image in a registry, and attach there what is in it and where it comes from, signed as well.

    Signed are the index and each image in it. `reference`: REGISTRY/NAME@sha256:DIGEST. `plain_http`: for a registry
    without TLS.

    Raises:
        ReleaseError: the image has no digest, is not the folder's, or cosign cannot sign.

    """
    name, _, digest = reference.partition("@")
    if not digest.startswith("sha256:"):
        raise ReleaseError(f"cannot sign {reference}: it has no @sha256:..., and what a tag names may change")
    index, *images = oci_index.digests(image_of(folder))
    if digest != index:
        raise ReleaseError(f"cannot sign {reference}: the image of {folder} is {index}; push that one, and name it")
    for one in (index, *images):
        _sign_one(folder, key, f"{name}@{one}", ["--allow-http-registry"] if plain_http else [])


def _sign_one(folder: Path, key: str | None, reference: str, allowed: Sequence[str]) -> None:
    _cosign("sign", *allowed, reference, key=key, what=f"sign {reference}")
    statement = json.loads(_read(folder / STATEMENT))
    with tempfile.TemporaryDirectory() as work:
        predicate = Path(work) / "predicate.json"
        predicate.write_text(json.dumps(statement["predicate"]))
        for kind, file in (
            ("spdxjson", folder / "image.spdx.json"),
            ("cyclonedx", folder / "image.cdx.json"),
            ("slsaprovenance1", predicate),
        ):
            words = ("attest", *allowed, "--type", kind, "--predicate", str(file), reference)
            _cosign(*words, key=key, what=f"attach {kind} to {reference}")


def image_of(folder: Path) -> Path:
    """The image in a folder; ReleaseError without one, or with several."""
    found = list(folder.glob("azure-cni-*-image.tar"))
    if len(found) != 1:
        raise ReleaseError(
            f"cannot sign the image: {folder} has {len(found)} of them, and must have one; make release IMAGE=yes "
            "builds it"
        )
    return found[0]


def chart_of(folder: Path) -> Path:
    """The chart's package in a folder; ReleaseError without or with several."""
    found = [path for path in folder.glob("azure-cni-*.tgz") if path.is_file()]
    if len(found) != 1:
        raise ReleaseError(f"cannot sign the chart: {folder} has {len(found)} packages of it, and must have one")
    return found[0]


def sign_chart(chart: Path, key: str) -> Path:
    """Sign the chart's package by gpg, as `helm package --sign` does; the file with the signature.

    helm itself would sign a package that it makes at the same moment, with the time of the day in it.

    Raises:
        ReleaseError: gpg cannot sign, or this is no chart.

    """
    target = chart.with_name(chart.name + PROVENANCE)
    words = ("gpg", "--batch", "--yes", "--clearsign", "--digest-algo", "SHA512", "--local-user", key)
    _run([*words, "--output", str(target)], what=f"sign {chart.name}", given=message(chart))
    return target


def message(chart: Path) -> str:
    """What is signed: the chart's description, and the package's sum."""
    with tarfile.open(chart) as package:
        described = next(
            (one for one in package if one.name.count("/") == 1 and one.name.endswith("/Chart.yaml")), None
        )
        file = package.extractfile(described) if described else None
        if file is None:
            raise ReleaseError(f"cannot sign {chart}: there is no Chart.yaml in it")
        description = file.read().decode()
    digest = hashlib.sha256(chart.read_bytes()).hexdigest()
    return f"{description.rstrip()}\n\n...\nfiles:\n  {chart.name}: sha256:{digest}\n"


def _cosign(verb: str, *words: str, key: str | None, what: str) -> None:
    with tempfile.TemporaryDirectory() as work:
        settings = Path(work) / "signing-config.json"
        settings.write_text(json.dumps(NO_SERVICES))
        common = ["--yes", *(["--key", key, "--signing-config", str(settings)] if key else [])]
        _run([str(REPOSITORY / "e2e" / "box"), "cosign", verb, *common, *words], what=what)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise ReleaseError(f"cannot sign: {file} cannot be read: {error}; make release writes it") from error


def _run(command: Sequence[str], *, what: str, given: str | None = None) -> None:
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=os.environ)
    except FileNotFoundError as error:
        raise ReleaseError(f"cannot {what}: {command[0]} is missing; install it") from error
    if done.returncode:
        raise ReleaseError(f"cannot {what}: {command[0]} says: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
