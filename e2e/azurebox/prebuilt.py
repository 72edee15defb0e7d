"""Programs that somebody has built already, so that the box need not: `AZBOX_KUBERNETES` says where they are.

That is one place or more, separated by blanks. A place is a directory, or the address of a folder of a release, such as
Kubernetes' own (https://dl.k8s.io/v1.36.3/bin/linux/amd64), where each program lies beside its published checksum,
NAME.sha256 or NAME.sha512. An address is https, or on loopback. A program is taken from the first place that has it in
the version that the box pins, and appears in the cache under its name only when it is whole and all of this is so.
"""

import hashlib
import http.client
import ipaddress
import os
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from azurebox.steps import StepError

VARIABLE = "AZBOX_KUBERNETES"
ANSWER_S = 60.0
"""Until a server sends something, and between two pieces."""
MOST_BYTES = 1 << 29
"""Of a program; Kubernetes' largest has 110 MB."""
MOST_CHECKSUM_BYTES = 4096
PIECE_BYTES = 1 << 20
RUNS_S = 60.0
CHECKSUMS = ("sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Probe:
    """How a program says its version: the arguments, and what must be in what it says."""

    arguments: Sequence[str]
    expected: str

    def accepts(self, said: str) -> bool:
        """Whether it says just that version; a build may follow (`v3.22.0+g3b2a1c0`)."""
        return not self.expected or bool(re.search(rf"(?<![\w.]){re.escape(self.expected)}(?![\w.-])", said))


class Source(Protocol):
    """Where programs are."""

    @property
    def also(self) -> str:
        """What else a program that is not there may lack, in words."""

    def fetch(self, name: str, target: Path) -> bool:
        """Write the program `name` to the file; False where it is not there. StepError."""


def sources() -> Sequence[Source]:
    """What the variable names, in its order; none where it is not set. StepError where that cannot be used."""
    named = os.environ.get(VARIABLE, "")
    if Path(named).expanduser().is_dir():  # its name may hold blanks
        return [_source(named)] if named else []
    return [_source(one) for one in named.split()]


def _source(named: str) -> Source:
    if "://" in named:
        return Release(named.rstrip("/"))
    directory = Path(named).expanduser()
    if not directory.is_dir():
        raise StepError(
            f"cannot take Kubernetes from {named}: it is no directory",
            advice=f"set {VARIABLE} to a directory with its programs, to the https address of a release, or to several "
            "of them with blanks between",
        )
    return Directory(directory)


@dataclass(frozen=True, slots=True)
class Directory:
    """Of this machine."""

    path: Path
    also: str = ""

    def __str__(self) -> str:
        return str(self.path)

    def fetch(self, name: str, target: Path) -> bool:
        """See `Source`."""
        try:
            shutil.copyfile(self.path / name, target)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StepError(f"cannot take {name} from {self}: {error}") from error
        return True


class Release:
    """A folder behind an address."""

    also = ", or not beside its .sha256 or .sha512"

    def __init__(self, address: str) -> None:
        self._address = address
        host = _require_safe(address)
        bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE") or None
        self._opener = urllib.request.build_opener(
            _SafeRedirects,
            urllib.request.ProxyHandler({} if _is_loopback(host) else None),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=bundle)),
        )

    def __str__(self) -> str:
        return self._address

    def fetch(self, name: str, target: Path) -> bool:
        """See `Source`. A program without a checksum counts as not there."""
        published = self._checksum(name)
        if published is None:
            return False
        algorithm, expected = published
        digest, count = hashlib.new(algorithm), 0
        try:
            with self._open(name) as answer, target.open("wb") as file:
                while piece := answer.read(PIECE_BYTES):
                    count += len(piece)
                    if count > MOST_BYTES:
                        raise StepError(f"cannot take {self}/{name}: it has more than {MOST_BYTES >> 20} MiB")
                    digest.update(piece)
                    file.write(piece)
        except (OSError, http.client.HTTPException) as error:
            raise StepError(f"cannot take {self}/{name}: {error}") from error
        if digest.hexdigest() != expected:
            raise StepError(
                f"cannot take {self}/{name}: its {algorithm} is {digest.hexdigest()}, and {name}.{algorithm} says "
                f"{expected} ({count} bytes came)",
                advice="try again; if it stays so, what the server has is not what was released",
            )
        return True

    def _checksum(self, name: str) -> tuple[str, str] | None:
        """Algorithm and digest; None where none is published."""
        for algorithm in CHECKSUMS:
            try:
                with self._open(f"{name}.{algorithm}") as answer:
                    text = answer.read(MOST_CHECKSUM_BYTES).decode(errors="replace")
            except urllib.error.HTTPError as error:
                if error.code != http.client.NOT_FOUND:
                    raise StepError(f"cannot read {self}/{name}.{algorithm}: {error}") from error
                continue
            except (OSError, http.client.HTTPException) as error:
                raise StepError(
                    f"cannot read {self}/{name}.{algorithm}: {error}", advice=f"is {VARIABLE} right, and the server up?"
                ) from error
            digest = text.split(maxsplit=1)[0].lower() if text.strip() else ""
            if not re.fullmatch(rf"[0-9a-f]{{{2 * hashlib.new(algorithm).digest_size}}}", digest):
                raise StepError(f"cannot use {self}/{name}.{algorithm}: it begins with {text[:40]!r}, which is none")
            return algorithm, digest
        return None

    def _open(self, name: str) -> Any:
        return self._opener.open(f"{self._address}/{name}", timeout=ANSWER_S)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """What was asked by TLS is not answered without."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _require_safe(newurl)
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise StepError(f"cannot follow {req.full_url} to {newurl}: it leads away from TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_safe(address: str) -> str:
    """The address's host. StepError for what is neither TLS nor loopback."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError as error:
        raise StepError(f"cannot use {VARIABLE}={address}: {error}") from error
    if not host or parts.username or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise StepError(
            f"cannot take programs from {parts.scheme}://{host}: an address must be https, or on loopback",
            advice=f"set {VARIABLE} to an https address without a user's name, or to a directory",
        )
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def version_of(name: str, program: Path, probe: Probe) -> str:
    """What it says of itself, whatever its status. StepError where it does not run here."""
    program.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "CNI_COMMAND"}
    try:
        done = subprocess.run(
            [program, *probe.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, timeout=RUNS_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StepError(
            f"cannot use {name}: it does not run on this machine: {error}",
            advice="is it for this system and processor?",
        ) from error
    return " ".join(done.stdout.decode(errors="replace").split())[:200]
