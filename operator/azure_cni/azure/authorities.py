"""Which certificate authorities are trusted for Azure: the system's, or those of one file."""

from __future__ import annotations

import ssl
from pathlib import Path

from azure_cni.errors import ConfigInvalid


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A client's context; `ca_file` replaces the system's authorities. ConfigInvalid where it holds none."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ValueError) as error:  # an SSLError is an OSError, too
        raise ConfigInvalid(
            f"cannot use the certificate authorities in {ca_file}: {error}; it must be a file with certificates in PEM"
        ) from error
