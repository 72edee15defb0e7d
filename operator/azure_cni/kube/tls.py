"""How the API server's certificate is checked.

Python 3.13 turned on OpenSSL's strict mode, which refuses authorities without an Authority Key Identifier. Clusters
older than kubeadm 1.20 or so, and many made by hand, have such an authority; the kubelet and kubectl accept it, and
so must whoever runs beside them. Everything else is checked as usual: the chain, the host name, the dates.
"""

from __future__ import annotations

import ssl
from os import PathLike
from pathlib import Path


def context(ca_file: Path | str | PathLike[str] | None = None) -> ssl.SSLContext:
    """A client's context that trusts `ca_file`, or the system's authorities without one."""
    made = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made
