"""Sandboxes as endpoints of HNS: wire one, take it away, compare it, list them. Synchronous, on the thread of calls.

**Wiring** is four calls: look for what has the name or the address, look at the pod's namespace, make the endpoint with
all its policies, put it into the namespace. When one fails, what has our name is deleted again; only if HNS confirms
that is it an ordinary error.

**Two endpoints with one address** take each other's packets. HNS keeps endpoints over restarts of the agent, so one may
be left from a pod whose DEL was cut short. Before an address is used, an endpoint of ours that has it is deleted: the
ledger says whose the address is now. One of another program is reported and left alone.

HNS is asked for an endpoint by its ID, which costs a call for each. Name and addresses of an endpoint never change, so
they are remembered, and a comparison of 250 endpoints costs one call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from azure_cni.datapath import hcn_documents as documents
from azure_cni.datapath.hcn_documents import Document, Endpoint, Segment
from azure_cni.datapath.interface import NO_OPTIONS, PodOptions, Wiring
from azure_cni.datapath.leaving import NO_SERVICES, Services
from azure_cni.datapath.names import PREFIX
from azure_cni.datapath.node_table import NodeTable
from azure_cni.errors import DatapathError, DatapathOutcomeUnknown
from azure_cni.model.text import few
from azure_cni.windows.hcn import HcnError, HcnKind, HcnService


class _Unreadable(DatapathError):
    """HNS shows nothing of an endpoint, or nothing that makes sense."""


class Endpoints:
    """The endpoints of the node. Those that are azure-cni's begin with `names.PREFIX`."""

    def __init__(self, service: HcnService, services: Services = NO_SERVICES) -> None:
        self._service = service
        self._services = services
        self._known: dict[str, Endpoint] = {}
        """By ID, as first read: only what never changes is used of it."""

    def attach(
        self,
        name: str,
        ifname: str,
        namespace: str,
        address: IPv4Address,
        *,
        network: str,
        segment: Segment,
        table: NodeTable,
        asked: PodOptions = NO_OPTIONS,
    ) -> Wiring:
        """Wire a sandbox. One that is wired alike stays; one of that name that differs is made again.

        DatapathOutcomeUnknown where HNS does not say whether something is left.
        """
        policies = documents.policies(address, table, self._services)
        mine = self._claim(name, address)
        present = [found for found in map(self._read, mine) if found is not None]
        if len(present) == 1 and not _faults(present[0], network, namespace, address, policies):
            return documents.wiring_of(present[0], ifname, segment)
        self._require_alone(namespace, ifname, but=mine)
        for endpoint in present:
            self._delete(endpoint)
        try:
            document = documents.endpoint_document(name, address, segment, policies, network=network, asked=asked)
            made = documents.endpoint_of(self._service.create(HcnKind.ENDPOINT, document, network=network))
            _require_address(made, address)
            request = documents.attachment_request(made.id, attach=True)
            self._service.modify(HcnKind.NAMESPACE, namespace, request)
        except DatapathError as error:
            self._take_back(name, error)
            raise
        return documents.wiring_of(made, ifname, segment)

    def detach(self, name: str) -> None:
        """Take away all endpoints of that name; none is no error. No other has to be readable."""
        for identifier in self._service.identifiers(HcnKind.ENDPOINT, Name=name):
            found = self._read(identifier)
            if found is not None and found.name == name:
                self._delete(found)

    def check(
        self, name: str, namespace: str, address: IPv4Address, *, network: str, table: NodeTable
    ) -> tuple[str, ...]:
        """Each difference from what the sandbox should be, as words."""
        subject = f"HCN endpoint {name}"
        known = self._look()
        if self._service.get(HcnKind.NAMESPACE, namespace) is None:
            return (f"the HCN namespace {namespace} is missing",)
        mine = [found for one in known if one.name == name and (found := self._read(one.id)) is not None]
        if not mine:
            return (f"{subject} is missing",)
        words = [f"{subject} is one of {len(mine)} of that name"] if len(mine) > 1 else []
        words += [f"{one.name} has {address}, too" for one in known if one.name != name and has(one, address)]
        faults = _faults(mine[0], network, namespace, address, documents.policies(address, table, self._services))
        return (*words, *(f"{subject} {fault}" for fault in faults))

    def ours(self) -> tuple[Endpoint, ...]:
        """All that are azure-cni's, of those that can be read: their names and addresses."""
        return tuple(one for one in self._look(readable=True) if one.name.startswith(PREFIX))

    def others_with(self, addresses: Collection[IPv4Address]) -> tuple[Endpoint, ...]:
        """Those of other programs that have one of these addresses."""
        foreign = (one for one in self._look() if not one.name.startswith(PREFIX))
        return tuple(one for one in foreign if any(has(one, address) for address in addresses))

    def put_policies_right(self, identifier: str, table: NodeTable) -> tuple[str, ...]:
        """Make an endpoint's policies what the node's table asks for; returns what they lacked or had, as words.

        DatapathError where HNS takes the request, and shows something else afterwards.
        """
        present = self._read(identifier)
        if present is None or not present.addresses:
            return ()
        wanted = documents.policies(present.addresses[0].ip, table, self._services)
        faults = documents.policy_faults(wanted, present.policies)
        if not faults:
            return ()
        self._service.modify(HcnKind.ENDPOINT, identifier, documents.policies_request(wanted, present.policies))
        now = self._read(identifier)
        left = documents.policy_faults(wanted, now.policies) if now is not None else ()
        if left:
            raise DatapathError(f"cannot set the policies of HCN endpoint {present.name}: it still {left[0]}")
        return tuple(f"HCN endpoint {present.name} {fault}: set right" for fault in faults)

    def _claim(self, name: str, address: IPv4Address) -> tuple[str, ...]:
        """The IDs of the endpoints of that name, once no other has the address. DatapathError for another program's."""
        known = self._look()
        for other in known:
            if other.name == name or not has(other, address):
                continue
            if not other.name.startswith(PREFIX):
                raise DatapathError(
                    f"cannot wire {name}: the HCN endpoint {other.name} ({other.id}), of another program, has "
                    f"{address}, too, and would take its packets; remove it: {documents.removal(other.id)}"
                )
            if (stale := self._read(other.id)) is not None:
                self._delete(stale)
        return tuple(one.id for one in known if one.name == name)

    def _require_alone(self, namespace: str, ifname: str, *, but: Collection[str]) -> None:
        found = self._service.get(HcnKind.NAMESPACE, namespace)
        if found is None:
            raise DatapathError(
                f"cannot open the HCN namespace {namespace}: it does not exist; has the pod's sandbox ended?"
            )
        listed = [identifier for identifier in documents.endpoints_in(found) if identifier not in but]
        others = [identifier for identifier in listed if self._read(identifier) is not None]
        if others:
            raise DatapathError(
                f"cannot wire a pod in the HCN namespace {namespace}: it has an interface {ifname} already (HCN "
                f"endpoint {others[0]}); another plugin in the conflist, or another agent, has wired it"
            )

    def _take_back(self, name: str, error: DatapathError) -> None:
        try:
            self.detach(name)
        except DatapathError as silent:
            raise DatapathOutcomeUnknown(f"{error}; whether anything of it is left is not known: {silent}") from error

    def _delete(self, present: Endpoint) -> None:
        """Out of its namespace first, as read just now. Where HNS refuses that, the namespace may be gone, or the
        endpoint's place in it: whether the endpoint itself can go is what counts.
        """
        if present.namespace:
            request = documents.attachment_request(present.id, attach=False)
            try:
                self._service.modify(HcnKind.NAMESPACE, present.namespace, request)
            except HcnError as error:
                if error.silent:
                    raise
        self._service.delete(HcnKind.ENDPOINT, present.id)
        self._known.pop(present.id, None)

    def _look(self, *, readable: bool = False) -> Sequence[Endpoint]:
        """All endpoints of the node, of other programs as well; those that were not there before are read.

        DatapathError for one that cannot be read, unless those that are `readable` do.
        """
        identifiers = self._service.identifiers(HcnKind.ENDPOINT)
        self._known = {identifier: self._known[identifier] for identifier in identifiers if identifier in self._known}
        for identifier in identifiers:
            try:
                if identifier not in self._known and (found := self._first_read(identifier)) is not None:
                    self._known[identifier] = found
            except _Unreadable:
                if not readable:
                    raise
        return tuple(self._known.values())

    def _first_read(self, identifier: str) -> Endpoint | None:
        try:
            return self._read(identifier)
        except DatapathError as error:
            if isinstance(error, HcnError) and error.silent:
                raise
            raise _Unreadable(
                f"{error}; it is {identifier}, and nobody knows whose addresses it has: remove it, if no other program "
                f"needs it: {documents.removal(identifier)}"
            ) from error

    def _read(self, identifier: str) -> Endpoint | None:
        found: Document | None = self._service.get(HcnKind.ENDPOINT, identifier)
        return None if found is None else documents.endpoint_of(found)


def has(endpoint: Endpoint, address: IPv4Address) -> bool:
    """Whether packets for the address go to it."""
    return any(one.ip == address for one in endpoint.addresses)


def _require_address(made: Endpoint, address: IPv4Address) -> None:
    """The pod would have another than the ledger says."""
    if not has(made, address):
        shown = few([str(one.ip) for one in made.addresses]) or "no address"
        raise DatapathError(f"cannot wire {made.name}: HNS was asked for {address}, and made its endpoint with {shown}")


def _faults(
    endpoint: Endpoint, network: str, namespace: str, address: IPv4Address, policies: Sequence[Document]
) -> tuple[str, ...]:
    """`network`: the ID of the node's. HNS may have lost the one that the endpoint was made in."""
    found: list[str] = []
    if endpoint.network and endpoint.network != network:
        found.append(f"is in another HCN network, {endpoint.network}")
    if not has(endpoint, address):
        found.append(f"lacks address {address}")
    if endpoint.namespace != namespace.lower():
        found.append(f"is in {'namespace ' + endpoint.namespace if endpoint.namespace else 'no namespace'}")
    return (*found, *documents.policy_faults(policies, endpoint.policies))
