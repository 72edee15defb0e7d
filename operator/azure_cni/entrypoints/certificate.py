"""The certificate of the metrics port: from the files of a Secret, or self-signed when the process starts.

The kubelet replaces the files of a Secret when it changes, so they are checked before each handshake, and a new pair is
used from the next connection on. Missing or mismatched files never end the process, which has pods to wire: the former
pair stays in use, and without any pair no handshake is made until there is one.

A child process makes the self-signed certificate, because the library for it would cost this process 9 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from azure_cni.errors import AzureCniError

log = logging.getLogger(__name__)

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
"""The names of a Secret of the type kubernetes.io/tls, which cert-manager writes as well."""

_MAKER: Final = "azure_cni.entrypoints.self_signed"
_MAKING_S: Final = 30.0
_Stamp = tuple[tuple[int, int], tuple[int, int]] | None


def server_context(certificate: Path | str, key: Path | str) -> ssl.SSLContext:
    """A server's context: TLS 1.2 or later, no renegotiation. OSError, which ssl.SSLError is, when the pair is bad."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # or one connection could ask for any number of handshakes
    context.load_cert_chain(certificate, key, password="")  # an encrypted key fails instead of asking
    return context


class CertificateFiles:
    """The pair in a directory where a Secret is mounted."""

    def __init__(self, directory: Path) -> None:
        self._certificate = directory / CERTIFICATE
        self._key = directory / KEY
        self._context: ssl.SSLContext | None = None
        self._seen: _Stamp = None
        self._absent = False

    def context(self) -> ssl.SSLContext | None:
        """The context of the newest pair that could be read; None before the first."""
        stamp = self._stamp()
        if stamp is not None and stamp != self._seen:
            self._read()
        self._seen = stamp
        return self._context

    def _read(self) -> None:
        facts = {"path": str(self._certificate.parent)}
        try:
            self._context = server_context(self._certificate, self._key)
        except OSError as error:
            log.warning("certificate of the metrics port cannot be used", extra=facts | {"error": str(error)})
        else:
            log.info("certificate of the metrics port read", extra=facts)

    def _stamp(self) -> _Stamp:
        """A value that changes with the files; None while one of them is absent."""
        try:
            first, second = (path.stat() for path in (self._certificate, self._key))
        except OSError as error:
            if not self._absent:
                log.warning("certificate of the metrics port is absent", extra={"error": str(error)})
            self._absent = True
            return None
        self._absent = False
        return (first.st_mtime_ns, first.st_ino), (second.st_mtime_ns, second.st_ino)


async def self_signed(address: str) -> ssl.SSLContext:
    """A context with a new key and a certificate for that IP address. AzureCniError when it cannot be made."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", _MAKER, address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_MAKING_S):
            made, said = await child.communicate()
    except TimeoutError:
        child.kill()
        made, said = b"", b"it took too long"
    try:
        return _from_memory(made)
    except OSError as error:
        words = said.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
        raise AzureCniError(f"cannot make a certificate for the metrics port: {words}") from error


def _from_memory(pair: bytes) -> ssl.SSLContext:
    """OpenSSL reads keys from files only; this one is gone as soon as it has been read."""
    with _file_of(pair) as path:
        return server_context(path, path)


@contextlib.contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """The path of a file that nobody else can read: in memory, or on Windows in a directory of this account alone."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory() as directory:  # os.mkdir with mode 0o700: since Python 3.12.4 there too
            path = Path(directory, KEY)
            path.write_bytes(content)
            yield str(path)
        return
    descriptor = os.memfd_create("azure-cni-metrics")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
