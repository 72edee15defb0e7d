"""How the API server's certificate is checked.

Python 3.13 turned on OpenSSL's strict mode, which refuses authorities without an Authority Key Identifier. Clusters
older than kubeadm 1.20 or so, and many made by hand, have such an authority; the kubelet and kubectl accept it, and
so must a plugin on the same node. Everything else is checked as usual: the chain, the host name, the dates.

When a cluster's authority is rotated, the kubelet replaces the file, and later connections trust the new authority as
well. The old one is trusted until the process restarts, because connections during a rotation need both.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from os import PathLike
from pathlib import Path

log = logging.getLogger(__name__)


def context(ca_file: Path | str | PathLike[str] | None = None) -> ssl.SSLContext:
    """A client's context that trusts `ca_file`, or the system's authorities without one."""
    made = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made


class Authorities:
    """The `context` of a client, which follows the file that it was made from."""

    def __init__(self, ca_file: Path | None) -> None:
        self._path = ca_file
        self._loaded = self._stamp()
        self.context = context(ca_file)

    def refresh(self) -> None:
        """Trust what the file says by now. One that cannot be read or parsed changes nothing until it is replaced."""
        stamp = self._stamp()
        if stamp is None or stamp == self._loaded or self._path is None:
            return
        try:
            self.context.load_verify_locations(cafile=self._path)
        except (OSError, ssl.SSLError) as error:
            log.warning("new certificate authority not read", extra={"path": str(self._path), "error": str(error)})
        else:
            log.info("new certificate authority read", extra={"path": str(self._path)})
        self._loaded = stamp

    def _stamp(self) -> tuple[int, int] | None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                stat = self._path.stat()
                return (stat.st_mtime_ns, stat.st_ino)
        return None
