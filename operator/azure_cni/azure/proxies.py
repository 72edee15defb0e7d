"""By which way requests to an Azure host go: which proxy, from the environment, and which authorities are trusted.

`HTTPS_PROXY` counts for Azure's hosts, all of which speak TLS; then `ALL_PROXY`; `NO_PROXY` takes hosts out. Lower case
wins, as in curl. A proxy speaks HTTP (CONNECT), over plain TCP or TLS. Anything else is refused with an explanation: a
library would ignore it, and the requests would go where nobody expects them. The metadata service and the wireserver
are never called through a proxy, so nothing here applies to them.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from azure_cni.errors import ConfigInvalid

VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
HTTPS_PORT: Final = 443


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The URL of the proxy for that URL, None to connect directly. ConfigInvalid when the variable is of no use."""
    asked = urlsplit(url)
    host, port = (asked.hostname or "").lower(), asked.port or HTTPS_PORT
    exceptions = next((environ[name] for name in EXCEPTIONS if environ.get(name)), "")
    if any(_covers(exception, host, port) for exception in exceptions.replace(",", " ").split()):
        return None
    name = next((name for name in VARIABLES if environ.get(name, "").strip()), None)
    return None if name is None else _usable(name, environ[name].strip())


def _usable(name: str, value: str) -> str:
    url = value if "://" in value else f"http://{value}"  # host:port alone, as curl takes it
    why = ""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            why = f"{parts.scheme} proxies are not supported"
        elif not parts.hostname:
            why = "it names no host"
        elif parts.port == 0:
            why = "it names port 0"
    except ValueError as error:
        why, parts = str(error), None
    if why:
        raise ConfigInvalid(
            f"cannot start: {name} is {_shown(value, parts)!r}: {why}; it must be the URL of an HTTP proxy, "
            "http://HOST:PORT or https://HOST:PORT; list hosts without a proxy in NO_PROXY"
        )
    return url


def _shown(value: str, parts: SplitResult | None) -> str:
    """The value without the password that may be in it."""
    if parts is None or "@" in value:
        return value.rpartition("@")[2]
    return value


def _covers(exception: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means this host: `*`, a host or domain, with or without a port, a prefix."""
    if exception == "*":
        return True
    with contextlib.suppress(ValueError):
        return ip_address(host) in ip_network(exception, strict=False)
    name, colon, number = exception.lower().rpartition(":")
    if not colon:
        name, number = exception.lower(), str(port)
    name = name.removeprefix("*").lstrip(".")
    return bool(name) and number == str(port) and (host == name or host.endswith(f".{name}"))


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A client's context; `ca_file` replaces the system's authorities. ConfigInvalid where it holds none."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ValueError) as error:  # an SSLError is an OSError, too
        raise ConfigInvalid(
            f"cannot use the certificate authorities in {ca_file}: {error}; it must be a file with certificates in PEM"
        ) from error
