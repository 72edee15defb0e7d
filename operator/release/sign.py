"""Signatures of a release, for who signs with keys of their own: `make sign FOLDER=dist/0.2.0 KEY=cosign.key GPG=ID`.

SHA256SUMS is signed by cosign, and with it every file that it lists; the chart by gpg, in the form that `helm verify`
and `helm install --verify` read. A signature has a time and chance in it, so none is part of SHA256SUMS. The
workflow of releases signs without a key, by its own identity.
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
    parser.add_argument("--gpg", help="the fingerprint or mail address of gpg's key for the chart")
    parser.add_argument("--image", help="in a registry, by digest: signed by --key as well, with lists of contents")
    parser.add_argument("--plain-http", action="store_true", help="that registry has no TLS")
    options = parser.parse_args(arguments)
    if not (options.key or options.gpg):
        sys.exit("cannot sign: neither --key nor --gpg names a key")
    try:
        if options.key and options.image:
            sign_image(options.folder.resolve(), options.key, options.image, plain_http=options.plain_http)
        if options.key:
            print(sign_sums(options.folder.resolve(), options.key))
        if options.gpg:
            print(sign_chart(chart_of(options.folder.resolve()), options.gpg))
    except ReleaseError as error:
        sys.exit(str(error))


def sign_sums(folder: Path, key: str) -> Path:
    """Sign the list of sums by cosign; the bundle with the signature.

    Raises:
        ReleaseError: there is no list, or cosign cannot sign.

    """
    if not (folder / SUMS).is_file():
        raise ReleaseError(f"cannot sign: {folder} has no {SUMS}; make release writes it")
    _cosign("sign-blob", "--bundle", str(folder / BUNDLE), str(folder / SUMS), key=key, what=f"sign {SUMS}")
    return folder / BUNDLE


def sign_image(folder: Path, key: str, reference: str, *, plain_http: bool = False) -> None:
    """Sign an image in a registry, and attach there what is in it and where it comes from, signed as well.

    `reference`: REGISTRY/NAME@sha256:DIGEST. `plain_http`: for a registry without TLS.

    Raises:
        ReleaseError: the image has no digest, the folder lacks what is attached, or cosign cannot sign.

    """
    if "@sha256:" not in reference:
        raise ReleaseError(f"cannot sign {reference}: it has no @sha256:..., and what a tag names may change")
    allowed = ["--allow-http-registry"] if plain_http else []
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


def _cosign(verb: str, *words: str, key: str, what: str) -> None:
    with tempfile.TemporaryDirectory() as work:
        settings = Path(work) / "signing-config.json"
        settings.write_text(json.dumps(NO_SERVICES))
        common = ("--yes", "--key", key, "--signing-config", str(settings))
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
