"""The agent's settings, read once from the environment (prefix AZURE_CNI_) and validated into one frozen value.

The chart sets every one of them; the defaults here are the chart's. With a wrong value the agent does not
start, and `kubectl logs` shows a sentence that names the variable, the value and the allowed values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import msgspec

from azure_cni.api.egress import EgressNamespaces
from azure_cni.azure.environments import ALIASES, NAMES, canonical
from azure_cni.cni.systems import LINUX, WINDOWS, NodeSystem
from azure_cni.entrypoints.environment_values import PREFIX, Reader, shown
from azure_cni.entrypoints.host_settings import HostSettings, read_host, require_windows
from azure_cni.entrypoints.web import Bind, TlsSettings, WebSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance, read_allowances
from azure_cni.model.identity import LinkNames, ModeName
from azure_cni.model.nic import Adopt, NicWriter
from azure_cni.model.pod_subnets import PodSubnetRule, read_rules
from azure_cni.model.text import NOT_JSON
from azure_cni.node.node_settings import NodeSettings, Timing

T = TypeVar("T")

_FAMILIES = ("IPv4", "IPv4,IPv6")
"""The chart's `ipFamilies`, joined."""


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Which Azure, and as whom. `adopt`: which secondary addresses that others put on the NIC are for pods.
    `shrink_scale_sets`: addresses also leave the NICs of instances of Uniform scale sets.
    """

    cloud: str
    arm_endpoint: str
    identity: str
    client_id: str
    adopt: Adopt
    ca_file: str
    imds_endpoint: str
    shrink_scale_sets: bool = False


@dataclass(frozen=True, slots=True)
class DockerPlace:
    """Where Docker finds its plugin, and where the list of its networks is, which outlives a reboot. `engine`: Docker's
    own socket; None where its containers are not listed.
    """

    socket: Path
    state_dir: Path
    engine: Path | None = None


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """All settings of the agent. `grants`: who allows this node its addresses, `self` or the cluster's `controller`.
    `docker`: None where Docker is not served.
    """

    node_name: str
    grants: str
    nic_writer: NicWriter
    node: NodeSettings
    azure: AzureSettings
    host: HostSettings
    web: WebSettings
    docker: DockerPlace | None
    log_level: str
    log_format: str
    system: NodeSystem = LINUX
    """That of the node."""


def read(environ: Mapping[str, str], *, system: NodeSystem = LINUX) -> AgentSettings:
    """Validate the environment of an agent on that `system`. ConfigInvalid names the first variable that is wrong."""
    reader = Reader(environ)
    if system is WINDOWS:
        require_windows(reader)
    grants = reader.choice("GRANTS", "self", "controller")
    nic_writer, chosen = read_nic_writer(reader), azure(reader)
    if nic_writer is NicWriter.CONTROLLER and grants != "controller":
        raise ConfigInvalid(f"cannot start: {PREFIX}NIC_WRITER is controller, which needs {PREFIX}GRANTS=controller")
    if nic_writer is NicWriter.NONE and chosen.adopt is Adopt.NONE:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}NIC_WRITER is none and {PREFIX}ADOPT is none: pods would get nothing, because the "
            "NIC has no address that azure-cni put there"
        )
    host = read_host(reader, system)
    return AgentSettings(
        node_name=reader.required("NODE_NAME"),
        grants=grants,
        nic_writer=nic_writer,
        node=_node(reader, nic_writer, host.link_names),
        azure=chosen,
        host=host,
        web=web(reader, port=9810),
        docker=_docker(reader),
        log_level=reader.choice("LOG_LEVEL", "info", "debug", "warning", "error"),
        log_format=reader.choice("LOG_FORMAT", "json", "text"),
        system=system,
    )


def azure(reader: Reader) -> AzureSettings:
    """Which Azure, and as whom: the same variables for every process."""
    return AzureSettings(
        cloud=canonical(reader.choice("CLOUD", *NAMES, *ALIASES)),
        arm_endpoint=reader.text("ARM_ENDPOINT"),
        identity=reader.choice("IDENTITY", "managed", "workload"),
        client_id=reader.text("CLIENT_ID"),
        adopt=Adopt(reader.choice("ADOPT", *Adopt)),
        ca_file=reader.text("CA_FILE"),
        imds_endpoint=reader.text("IMDS_ENDPOINT", "http://169.254.169.254"),
        shrink_scale_sets=reader.flag("SHRINK_SCALE_SETS", default=False),
    )


def web(reader: Reader, *, port: int) -> WebSettings:
    """Where metrics and health are served; `port` is the default."""
    bind = Bind(reader.choice("METRICS_BIND", *Bind))
    address = reader.parsed("HOST_IP", ip_address, "an IP address", None)
    if bind is Bind.NODE and address is None:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}HOST_IP is not set, and {PREFIX}METRICS_BIND=node serves metrics at the node's "
            "address; the chart sets both, see its templates"
        )
    tls = reader.flag("METRICS_TLS", default=False)
    tokens = reader.choice("METRICS_AUTH", "none", "token") == "token"
    if tls and bind is not Bind.NODE:
        raise ConfigInvalid(f"cannot start: {PREFIX}METRICS_TLS is true, which needs {PREFIX}METRICS_BIND=node")
    if tokens and not tls:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}METRICS_AUTH is token, which needs {PREFIX}METRICS_TLS=true: whoever reads a token "
            "on the network can use it"
        )
    return WebSettings(
        port=reader.whole("METRICS_PORT", port),
        bind=bind,
        node_address=str(address or ""),
        tls=TlsSettings(reader.parsed("METRICS_TLS_DIR", Path, "a directory", None)) if tls else None,
        tokens=tokens,
        audience=reader.text("METRICS_AUDIENCE"),
    )


def read_nic_writer(reader: Reader) -> NicWriter:
    """Who writes the NICs: the same variable for every process."""
    if former := reader.text("NIC"):
        raise ConfigInvalid(
            f"cannot start: {PREFIX}NIC is {shown(former)}, and is no setting any more: {PREFIX}NIC_WRITER=none "
            f"replaces {PREFIX}NIC=observe; leave {PREFIX}NIC out"
        )
    return NicWriter(reader.choice("NIC_WRITER", *NicWriter))


def _docker(reader: Reader) -> DockerPlace | None:
    socket = reader.parsed("DOCKER_SOCKET", Path, "a path", None)
    if socket is None:
        return None
    if reader.choice("MODE", *ModeName) != ModeName.TRANSPARENT:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}DOCKER_SOCKET is set, which needs {PREFIX}MODE={ModeName.TRANSPARENT}: Docker's "
            "containers are wired in that mode alone"
        )
    state_dir = Path(reader.text("DOCKER_STATE_DIR", "/var/lib/azure-cni/docker"))
    return DockerPlace(socket, state_dir, reader.parsed("DOCKER_ENGINE_SOCKET", Path, "a path", None))


def _node(reader: Reader, nic_writer: NicWriter, link_names: LinkNames) -> NodeSettings:
    try:
        defaults = Policy(
            min_free=reader.whole("POOL_MIN_FREE", limits.MIN_FREE),
            max_free=reader.whole("POOL_MAX_FREE", limits.MAX_FREE),
            batch=reader.whole("POOL_BATCH", limits.BATCH),
            size=reader.whole("POOL_SIZE", 0) or None,
            maximum=reader.whole("POOL_MAX", limits.MAX_ADDRESSES_PER_NODE),
            blocks=reader.whole("POOL_BLOCKS", 0),
            ipv6=_ipv6(reader, nic_writer),
        )
    except ConfigInvalid as error:
        raise ConfigInvalid(f"cannot start: the chart's values for pools do not fit together: {error}") from None
    return NodeSettings(
        defaults=defaults,
        mode=ModeName(reader.choice("MODE", *ModeName)),
        link_names=link_names,
        routable=reader.prefixes("ROUTABLE_PREFIXES"),
        allow_imds=reader.flag("ALLOW_IMDS", default=False),
        egress=EgressNamespaces.of(name.strip() for name in reader.text("EGRESS_NAMESPACES").split(",")),
        nic_read_only=nic_writer is NicWriter.NONE,
        cooling_s=reader.seconds("COOLING_S", limits.COOLING_S),
        attachable=attachable(reader),
        pod_subnets=pod_subnets(reader, nic_writer),
        timing=Timing(
            nic_s=reader.seconds("RESYNC_S", Timing().nic_s, least=1.0),
            shrink_delay_s=reader.seconds("SHRINK_DELAY_S", Timing().shrink_delay_s),
        ),
    )


def _ipv6(reader: Reader, nic_writer: NicWriter) -> bool:
    """Whether pods get an IPv6 address beside that of IPv4."""
    if reader.choice("IP_FAMILIES", *_FAMILIES) == "IPv4":
        return False
    chosen = f"cannot start: {PREFIX}IP_FAMILIES is {_FAMILIES[1]}"
    if nic_writer is NicWriter.NONE:
        raise ConfigInvalid(f"{chosen}, and {PREFIX}NIC_WRITER is none: nobody would add IPv6 addresses to the NIC")
    if reader.text("DOCKER_SOCKET"):
        raise ConfigInvalid(f"{chosen}, and {PREFIX}DOCKER_SOCKET is set: Docker's containers get IPv4 alone")
    if pod_subnets(reader, nic_writer):
        raise ConfigInvalid(f"{chosen}, and {PREFIX}POD_SUBNETS is set: pods in a subnet of their own get IPv4 alone")
    return True


def attachable(reader: Reader) -> tuple[Allowance, ...]:
    """Which pools and public IP addresses the pods of which namespaces may use: the same for every process."""
    return _listed(reader, "POD_NETWORKING_ALLOWED", read_allowances, "the chart's podNetworking.allowed as JSON")


def pod_subnets(reader: Reader, nic_writer: NicWriter) -> tuple[PodSubnetRule, ...]:
    """Which nodes' pods have a subnet of their own: the same for every process."""
    rules = _listed(reader, "POD_SUBNETS", read_rules, "the chart's pool.subnets as JSON")
    if rules and nic_writer is NicWriter.NONE:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}POD_SUBNETS is set, and {PREFIX}NIC_WRITER is none, which finds no NIC"
        )
    return rules


def _listed(reader: Reader, name: str, read: Callable[[object], tuple[T, ...]], what: str) -> tuple[T, ...]:
    def parse(text: str) -> tuple[T, ...]:
        try:
            return read(msgspec.json.decode(text))
        except NOT_JSON as error:
            raise ValueError(str(error)) from None

    return reader.parsed(name, parse, what, read([]))
