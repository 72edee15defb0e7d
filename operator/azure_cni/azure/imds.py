"""The instance metadata service: what a VM can find out about itself without any permission.

It answers only on the node's own network, only without a proxy, and only to the NIC's primary address. It may be gone
for up to 70 s while the host is updated (410), so that alone is waited for; any other silence is told soon, with what
to check. It is identity, not truth about the pool: how soon it shows a new address is not documented.
Source: Azure documentation, "Azure Instance Metadata Service for virtual machines".
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Final, Protocol

import aiohttp
import msgspec

from azure_cni.api.plurals import counted
from azure_cni.api.reading import NOT_JSON
from azure_cni.api.text import legible
from azure_cni.azure.meter import Meter
from azure_cni.errors import CloudError, CloudNotFound, CloudUnreachable, RequestRefused, Throttled

log = logging.getLogger(__name__)

DEFAULT_URL: Final = "http://169.254.169.254"
API_VERSION: Final = "2021-10-01"
ANSWER_S: Final = 5.0
PAUSES_S: Final = (0.5, 1.0, 2.0)
"""Before each further attempt after 404, 429, 5xx or silence, as the documentation advises for transient answers."""
GONE: Final = 410
_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
GONE_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0)  # 75 s: "available again within 70 seconds"


@dataclass(frozen=True, slots=True)
class ImdsAddress:
    """One address of an interface, and whether it has a public one (basic SKU only: others are not shown)."""

    private: IPv4Address
    public: bool


@dataclass(frozen=True, slots=True)
class ImdsInterface:
    """One NIC as the VM sees it; `mac` as the kernel writes it, the primary address first.

    `fault` says what of it could not be read, "" when all was: a NIC that is not ours may be as it likes.
    """

    mac: str
    addresses: tuple[ImdsAddress, ...]
    subnets: tuple[IPv4Network, ...]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """This VM. `resource_id` is its ARM id; `environment` names the cloud; `scale_set` is "" outside one."""

    vm_id: str
    name: str
    resource_id: str
    environment: str
    scale_set: str
    interfaces: tuple[ImdsInterface, ...]


class Instances(Protocol):
    """Who says which VM is meant."""

    async def instance(self) -> Instance:
        """The VM, as its metadata service describes it."""


class Imds:
    """Asks the service at `url`. `sleep` is what waits between attempts."""

    def __init__(
        self,
        *,
        meter: Meter,
        url: str = DEFAULT_URL,
        answer_s: float = ANSWER_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._meter = meter
        self._timeout = aiohttp.ClientTimeout(total=answer_s)
        self._sleep = sleep

    async def instance(self) -> Instance:
        """Who this VM is. CloudUnreachable when nothing answers; other CloudErrors when something else is wrong."""
        pauses_s = list(PAUSES_S)
        attempt = 0
        while True:
            status, content = await self._ask()
            if status == 200:  # noqa: PLR2004
                return _parse(content)
            if status == GONE:
                pauses_s = list(GONE_PAUSES_S)
            if not _passing(status) or attempt >= len(pauses_s):
                raise self._failure(status, content, attempts=attempt + 1)
            await self._sleep(pauses_s[attempt])
            attempt += 1

    async def _ask(self) -> tuple[int, bytes]:
        """One attempt: status and body; 0 and the reason when there is no answer."""
        began_s = time.monotonic()
        try:
            # trust_env stays off: the service refuses what came through a proxy, or would never see it.
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.get(
                    f"{self._url}/metadata/instance",
                    params={"api-version": API_VERSION, "format": "json"},
                    headers={"Metadata": "true"},
                    allow_redirects=False,
                ) as response,
            ):
                status, content = response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = f"no answer within {self._timeout.total:g} s" if isinstance(error, TimeoutError) else str(error)
            status, content = 0, said.encode()
        self._meter.azure("imds.instance", str(status) if status else "unreachable", time.monotonic() - began_s)
        return status, content

    def _failure(self, status: int, content: bytes, *, attempts: int) -> CloudError:
        said = content[:200].decode(errors="replace").strip()
        cannot = f"cannot read the instance metadata at {self._url} ({counted(attempts, 'attempt')})"
        if status == 0:
            return CloudUnreachable(
                f"{cannot}: {said}; is this an Azure VM, does the agent run on the host's network, and does nothing "
                "(firewall, network policy, nftables) hold back the node's own traffic to that address?",
                azure_code="ImdsSilent",
            )
        text = f"{cannot}: it answers HTTP {status}: {said}"
        if status == 404:  # noqa: PLR2004
            return CloudNotFound(f"{text}; is it the address of the metadata service?")
        if status == 429:  # noqa: PLR2004
            return Throttled(f"{text}; it answers 5 requests a second: who else on this node asks so much?")
        if status == GONE or status >= 500:  # noqa: PLR2004
            return CloudUnreachable(text)
        return RequestRefused(text)


def mac_text(raw: str) -> str:
    """`000D3A1BC721` or `00-0D-3A-1B-C7-21` as the kernel writes it."""
    digits = raw.replace("-", "").replace(":", "").lower()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _passing(status: int) -> bool:
    """Whether the same question may be answered soon."""
    return status in {0, 404, GONE, 429} or status >= 500  # noqa: PLR2004


class _Camel(msgspec.Struct, rename="camel"):
    pass


class _Address(_Camel):
    private_ip_address: str | None = None
    public_ip_address: str | None = None


class _Subnet(_Camel):
    address: str | None = None
    prefix: str | None = None


class _IPv4(_Camel):
    ip_address: list[_Address] | None = None
    subnet: list[_Subnet] | None = None


class _Interface(_Camel):
    ipv4: _IPv4 | None = None


class _Network(_Camel):
    interface: list[Any] | None = None


class _Compute(_Camel):
    vm_id: Annotated[str, msgspec.Meta(min_length=1)]
    resource_id: Annotated[str, msgspec.Meta(min_length=1)]
    name: str | None = None
    az_environment: str | None = None
    vm_scale_set_name: str | None = None


class _Document(_Camel):
    compute: _Compute
    network: _Network | None = None


def _parse(content: bytes) -> Instance:
    try:
        document = msgspec.json.decode(content, type=_Document)
    except NOT_JSON as error:
        raise CloudUnreachable(
            f"cannot use the instance metadata: {legible(str(error))}; does something else answer?"
        ) from error
    compute = document.compute
    shown = (document.network.interface if document.network else None) or []
    return Instance(
        vm_id=legible(compute.vm_id.lower()),
        name=legible(compute.name or ""),
        resource_id=compute.resource_id,
        environment=legible(compute.az_environment or ""),
        scale_set=legible(compute.vm_scale_set_name or ""),
        interfaces=tuple(interface for raw in shown if (interface := _interface(raw)) is not None),
    )


def _interface(raw: object) -> ImdsInterface | None:
    """One NIC; None where not even its MAC can be read, by which it could be ours."""
    written = raw.get("macAddress") if isinstance(raw, Mapping) else None
    mac = mac_text(written) if isinstance(written, str) else ""
    if not _MAC.fullmatch(mac):
        log.info("an interface without a MAC is skipped", extra={"mac": legible(str(written), 40)})
        return None
    try:
        ipv4 = msgspec.convert(raw, _Interface).ipv4 or _IPv4()
        return ImdsInterface(mac, tuple(_addresses(ipv4)), tuple(_subnets(ipv4)))
    except (msgspec.ValidationError, ValueError) as error:
        return ImdsInterface(mac, addresses=(), subnets=(), fault=legible(str(error), 100))


def _addresses(ipv4: _IPv4) -> Iterator[ImdsAddress]:
    for item in ipv4.ip_address or ():
        # A /28 block is shown in CIDR form: the pool does not use blocks.
        if item.private_ip_address and "/" not in item.private_ip_address:
            yield ImdsAddress(IPv4Address(item.private_ip_address), public=bool(item.public_ip_address))


def _subnets(ipv4: _IPv4) -> Iterator[IPv4Network]:
    """What a NIC has not, the service leaves empty; and it may show the NIC's address for the subnet's."""
    for subnet in ipv4.subnet or ():
        if subnet.address:
            yield IPv4Network(f"{subnet.address}/{subnet.prefix or ''}", strict=False)
