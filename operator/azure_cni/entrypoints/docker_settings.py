"""The settings of `azure-cni docker`: a TOML file, validated into one frozen value before anything starts.

Names, meanings and defaults are those of the chart's values; `docker.*` is of this file alone. An unknown name and a
value of another type or out of range are refused: `azure-cni docker --check-config` does that and starts nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final, TypeVar

from azure_cni.api.vnet_quota import LIMIT, MOST_IN_A_VNET
from azure_cni.azure.environments import ALIASES, NAMES, canonical
from azure_cni.cni.conflist import STATUS_VERSION, VERSION
from azure_cni.docker.container_endpoints import REQUEST_WAITS_S
from azure_cni.docker.usage_granter import StandaloneQuota
from azure_cni.entrypoints.settings import AzureSettings, HostSettings
from azure_cni.entrypoints.web import Bind, WebSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.host.audit_files import DAY_S, AuditLimits
from azure_cni.host.install import CONFLIST, conflist_name
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import Adopt, NicWriter
from azure_cni.node.node_settings import NodeSettings, Timing

STANDARD_FILE: Final = Path("/etc/azure-cni/docker.toml")
ENGINE_SOCKET: Final = "/run/docker.sock"
LONGEST_WAIT_S: Final = 120.0
"""Of a container that waits for an address."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """All settings. `run_dir` is emptied by a reboot, `state_dir` is not; `wait_s`: how long a container that starts
    waits for a pool that grows. None: `audit` where no trail is kept, `engine` (Docker's own socket) where its
    containers are not to be listed, `cni` where only Docker is served.
    """

    nic_writer: NicWriter
    node: NodeSettings
    quota: StandaloneQuota
    azure: AzureSettings
    web: WebSettings
    socket: Path
    engine: Path | None
    run_dir: Path
    state_dir: Path
    audit: AuditLimits | None
    cni: HostSettings | None
    wait_s: float
    log_level: str
    log_format: str


def read_file(path: Path) -> DockerSettings:
    """Read and validate the file; the standard one need not exist. ConfigInvalid."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        if path != STANDARD_FILE:
            raise ConfigInvalid(f"cannot start: there is no file {path}") from None
        text = ""
    except (OSError, UnicodeError) as error:
        raise ConfigInvalid(f"cannot start: cannot read {path}: {error}") from error
    return read(text, file=str(path))


def read(text: str, *, file: str = "docker.toml") -> DockerSettings:
    """Validate the text of a file. ConfigInvalid names the first value that is wrong, or every name that is unknown."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigInvalid(f"cannot start: {file} is no TOML: {error}") from error
    values = _Values(document, file=file)
    settings = _settings(values)
    values.refuse_unknown()
    return settings


class _Values:
    """Takes values out of the document by their dotted names, and knows which were never asked for."""

    def __init__(self, document: Mapping[str, Any], *, file: str) -> None:
        self._values = dict(_flat(document))
        self._unknown = set(self._values)
        self._known: set[str] = set()
        self._file = file

    def take(self, name: str, default: T, what: str, parse: Callable[[Any], T]) -> T:
        """The value, as `parse` understands it; a ValueError of that says that it must be `what`."""
        self._unknown.discard(name)
        self._known.add(name)
        if name not in self._values:
            return default
        value = self._values[name]
        try:
            return parse(value)
        except ValueError as error:
            why = f" ({error})" if str(error) else ""
            raise self.refused(name, value, f"it must be {what}{why}") from None

    def refused(self, name: str, value: object, why: str) -> ConfigInvalid:
        return ConfigInvalid(f"cannot start: {name} in {self._file} is {value!r}: {why}")

    def text(self, name: str, default: str = "") -> str:
        return self.take(name, default, "a text", _only(str))

    def choice(self, name: str, *allowed: str) -> str:
        """One of the allowed words; the first is the default."""

        def parse(value: Any) -> str:
            if value not in allowed:
                raise ValueError
            return str(value)

        return self.take(name, allowed[0], f"one of {', '.join(allowed)}", parse)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        def parse(value: Any) -> int:
            number: int = _only(int)(value)
            if not least <= number <= most:
                raise ValueError
            return number

        return self.take(name, default, f"a whole number from {least} to {most}", parse)

    def seconds(self, name: str, default: float, *, least: float = 0.0, most: float = 86_400.0) -> float:
        def parse(value: Any) -> float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError
            return float(value)

        return self.take(name, default, f"a number of seconds from {least:g} to {most:g}", parse)

    def flag(self, name: str, *, default: bool) -> bool:
        return self.take(name, default, "true or false", _only(bool))

    def path(self, name: str, default: str) -> Path:
        def parse(value: Any) -> Path:
            path = Path(_only(str)(value))
            if not path.is_absolute():
                raise ValueError
            return path

        return self.take(name, Path(default), "an absolute path", parse)

    def refuse_unknown(self) -> None:
        if self._unknown:
            raise ConfigInvalid(
                f"cannot start: {self._file} has {', '.join(sorted(self._unknown))}, which is not known; known are "
                f"{', '.join(sorted(self._known))}"
            )


def _settings(values: _Values) -> DockerSettings:
    writer = NicWriter(values.take("nicWriter", "agent", "agent or none", _writer))
    nowhere: frozenset[IPv4Network] = frozenset()
    routable = values.take("routablePrefixes", nowhere, "a list of IPv4 prefixes", _prefixes)
    azure = _azure(values)
    if writer is NicWriter.NONE and azure.adopt is Adopt.NONE:
        raise values.refused("azure.adopt", "none", "with nicWriter none, containers would get nothing")
    if writer is NicWriter.NONE and not routable:
        raise values.refused(
            "nicWriter", "none", "it needs routablePrefixes: the VNet's prefixes, which only the resource manager knows"
        )
    run_dir = values.path("docker.runDirectory", "/run/azure-cni")
    state_dir = values.path("docker.stateDirectory", "/var/lib/azure-cni")
    return DockerSettings(
        nic_writer=writer,
        node=NodeSettings(
            defaults=_policy(values),
            routable=routable,
            allow_imds=values.flag("imds.allowPods", default=False),
            nic_read_only=writer is NicWriter.NONE,
            in_cluster=False,
            cooling_s=values.seconds("agent.coolingSeconds", limits.COOLING_S),
            timing=Timing(
                nic_s=values.seconds("agent.resyncSeconds", Timing().nic_s, least=1.0),
                shrink_delay_s=values.seconds("agent.shrinkDelaySeconds", Timing().shrink_delay_s),
            ),
        ),
        quota=StandaloneQuota(
            limit=values.whole("quota.limit", LIMIT, least=1, most=MOST_IN_A_VNET),
            reserved=values.whole("quota.reserved", 0, least=0, most=MOST_IN_A_VNET),
        ),
        azure=azure,
        web=_web(values),
        socket=values.path("docker.socket", "/run/docker/plugins/azure-cni.sock"),
        engine=_engine(values),
        run_dir=run_dir,
        state_dir=state_dir,
        audit=_audit(values, state_dir / "audit"),
        cni=_cni(values, run_dir),
        wait_s=values.seconds("docker.waitSeconds", REQUEST_WAITS_S, most=LONGEST_WAIT_S),
        log_level=values.choice("agent.logLevel", "info", "debug", "warning", "error"),
        log_format=values.choice("agent.logFormat", "text", "json"),
    )


def _audit(values: _Values, directory: Path) -> AuditLimits | None:
    kept = values.flag("audit.enabled", default=True)
    size = values.whole("audit.maxSizeMiB", 64, least=1, most=10_240)
    days = values.whole("audit.maxDays", 30, least=1, most=3650)
    return AuditLimits(directory, most_bytes=size << 20, longest_s=days * DAY_S) if kept else None


def _cni(values: _Values, run_dir: Path) -> HostSettings | None:
    host = HostSettings(
        bin_dir=values.path("cni.binDir", "/opt/cni/bin"),
        conf_dir=values.path("cni.confDir", "/etc/cni/net.d"),
        conf_name=values.take("cni.confName", CONFLIST, "the name of a file that ends in .conflist", conflist_name),
        chain_portmap=values.flag("cni.chainPortmap", default=True),
        spec_version=values.choice("cni.specVersion", VERSION, STATUS_VERSION),
        run_dir=run_dir,
        plugin=values.path("cni.plugin", "/usr/libexec/azure-cni/azure-cni"),
    )
    return host if values.flag("cni.enabled", default=False) else None


def _azure(values: _Values) -> AzureSettings:
    return AzureSettings(
        cloud=canonical(values.choice("azure.cloud", *NAMES, *ALIASES)),
        arm_endpoint=values.text("azure.resourceManagerEndpoint"),
        identity=values.choice("azure.identity", "managed"),
        client_id=values.text("azure.clientID"),
        adopt=Adopt(values.choice("azure.adopt", *Adopt)),
        ca_file=values.text("azure.caFile"),
        imds_endpoint=values.text("azure.metadataEndpoint", "http://169.254.169.254"),
    )


def _policy(values: _Values) -> Policy:
    standard, most = Policy(), limits.MAX_ADDRESSES_PER_NODE
    min_free = values.whole("pool.minFree", standard.min_free, least=0, most=most)
    max_free = values.whole("pool.maxFree", standard.max_free, least=0, most=2 * most)
    batch = values.whole("pool.batch", standard.batch, least=1, most=most)
    size = values.whole("pool.size", 0, least=0, most=most) or None
    maximum = values.whole("pool.max", standard.maximum, least=1, most=most)
    try:
        return Policy(min_free=min_free, max_free=max_free, batch=batch, size=size, maximum=maximum)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"cannot start: the values of [pool] do not fit together: {error}") from None


def _web(values: _Values) -> WebSettings:
    bind = Bind(values.choice("metrics.bind", Bind.LOOPBACK, Bind.NODE, Bind.NONE))
    address = values.take("metrics.address", "", "an IPv4 address", lambda value: str(IPv4Address(_only(str)(value))))
    if bind is Bind.NODE and not address:
        raise values.refused(
            "metrics.bind", "node", "it needs metrics.address, the address of this VM to serve them at"
        )
    return WebSettings(port=values.whole("metrics.port", 9810, least=1, most=65_535), bind=bind, node_address=address)


def _engine(values: _Values) -> Path | None:
    def parse(value: Any) -> str:
        text: str = _only(str)(value)
        if text and not Path(text).is_absolute():
            raise ValueError
        return text

    socket = values.take("docker.engineSocket", ENGINE_SOCKET, 'an absolute path, or "" for none', parse)
    return Path(socket) if socket else None


def _writer(value: Any) -> str:
    if value == NicWriter.CONTROLLER:
        raise ValueError("there is no controller without Kubernetes")
    if value not in list(NicWriter):
        raise ValueError
    return str(value)


def _prefixes(value: Any) -> frozenset[IPv4Network]:
    prefixes: list[Any] = _only(list)(value)
    return frozenset(IPv4Network(_only(str)(prefix)) for prefix in prefixes)


def _only(kind: type[T]) -> Callable[[Any], T]:
    def parse(value: Any) -> T:
        if type(value) is not kind:  # a bool is an int too
            raise ValueError
        return value

    return parse


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
