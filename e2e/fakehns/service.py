"""The stand-in itself: networks, endpoints and namespaces behind the calls of computenetwork.dll, in memory.

Calls and answers are JSON texts, as in the C interface. A call that the documentation does not allow is refused with an
HRESULT that it lists. What becomes of packets is not simulated.

For tests it can misbehave as HNS has been reported to: hang until it is restarted, end in the middle of a call, forget
objects, hold two endpoints with one address or name. Its refusals are read from documentation and headers, never from a
Windows.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fakehns import schema

NETWORK_NOT_FOUND, ENDPOINT_NOT_FOUND, NOT_FOUND = 0x803B0001, 0x803B0002, 0x80070490
ADAPTER_NOT_FOUND, INVALID_NETWORK, INVALID_ENDPOINT = 0x803B0006, 0x803B000A, 0x803B000C
INVALID_POLICY, INVALID_POLICY_TYPE, NETWORK_EXISTS = 0x803B000D, 0x803B000E, 0x803B0010
INVALID_JSON, INVALID_IP, IN_A_NAMESPACE, HAS_REFERENCES = 0x803B001B, 0x803B001E, 0x803B002B, 0x803B002C
REQUEST_UNSUPPORTED, SERVER_UNAVAILABLE, CALL_FAILED = 0x803B0015, 0x800706BA, 0x800706BE

NON_PERSISTENT: Final = 8
KINDS: Final = ("Network", "Endpoint", "Namespace")
_ABSENT: Final = {"Network": NETWORK_NOT_FOUND, "Endpoint": ENDPOINT_NOT_FOUND, "Namespace": NOT_FOUND}
_FILTERS: Final = {"Name": "Name", "ID": "ID", "VirtualNetwork": "HostComputeNetwork"}
"""What hcsshim filters by, and the field that is meant."""

Object = dict[str, Any]
Answer = TypeVar("Answer")


class RefusedCall(Exception):
    """HNS answers with an HRESULT that is a failure. `words` are for people."""

    def __init__(self, result: int, words: str = "") -> None:
        super().__init__(f"0x{result:08x} {words}")
        self.result = result
        self.words = words


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made: the function's verb, and the kind of object."""

    verb: str
    kind: str


@dataclass(eq=False)
class FakeHns:
    """`adapters`: names of the node's network adapters. Safe for calls of several threads."""

    adapters: set[str] = field(default_factory=lambda: {"Ethernet"})
    calls: list[Call] = field(default_factory=list)
    """All that were made, in order."""
    on_call: Callable[[Call], int] = lambda _: 0
    """Asked before each call; an HRESULT that is not 0 refuses it."""
    after_call: Callable[[Call], int] = lambda _: 0
    """Asked after each call that was carried out; an HRESULT that is not 0 takes the place of the answer."""
    away: bool = False
    """The service does not run."""

    def __post_init__(self) -> None:
        self.hanging = 0
        """How many calls have hung, since it last worked."""
        self.objects: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._answers = threading.Event()
        self._answers.set()

    # What the service does

    def enumerate(self, kind: str, query: str) -> str:
        """HcnEnumerate...: the IDs of what matches."""
        return self._carried_out("enumerate", kind, lambda: json.dumps(self._matching(kind, query)))

    def query(self, kind: str, identifier: str, query: str) -> str:
        """HcnQuery...Properties."""

        def read() -> str:
            _parsed(query, schema.QUERY, INVALID_JSON)
            return json.dumps(self._get(kind, identifier))

        return self._carried_out("query", kind, read)

    def create(self, kind: str, document: str, network: str = "") -> str:
        """HcnCreate...; returns the object's properties."""
        make = {"Network": self._make_network, "Endpoint": self._make_endpoint, "Namespace": self._make_namespace}[kind]
        return self._carried_out("create", kind, lambda: json.dumps(self._keep(kind, make(document, network.lower()))))

    def modify(self, kind: str, identifier: str, request: str) -> None:
        """HcnModify...."""
        change = {"Endpoint": self._set_policies, "Namespace": self._attach_or_detach}.get(kind)
        if change is None:
            raise RefusedCall(REQUEST_UNSUPPORTED, f"no {kind.lower()} is modified here")
        self._carried_out("modify", kind, lambda: change(self._get(kind, identifier), request))

    def delete(self, kind: str, identifier: str) -> None:
        """HcnDelete...."""
        self._carried_out("delete", kind, lambda: self._remove(kind, self._get(kind, identifier)))

    def require(self, kind: str, identifier: str) -> None:
        """HcnOpen...: it has to exist."""
        self._answers.wait()
        if self.away:
            raise RefusedCall(SERVER_UNAVAILABLE, "The RPC server is unavailable.")
        with self._lock:
            self._get(kind, identifier)

    # What others do to it

    def add_namespace(self) -> str:
        """A runtime has made one for a pod, whatever else fails; returns its GUID."""
        document = {"SchemaVersion": {"Major": 2, "Minor": 0}, "Type": "Host"}
        with self._lock:
            return str(self._keep("Namespace", self._make_namespace(json.dumps(document), ""))["ID"])

    def hang(self) -> None:
        """Every call hangs from now on, before it does anything."""
        self.hanging = 0
        self._answers.clear()

    def restart(self) -> None:
        """Hanging calls fail, and what is not persistent is forgotten: networks so flagged, with their endpoints."""
        with self._lock:
            forgotten = {key for key, one in self.objects["Network"].items() if one["Flags"] & NON_PERSISTENT}
            for key in forgotten:
                del self.objects["Network"][key]
            for one in [one for one in self.objects["Endpoint"].values() if one["HostComputeNetwork"] in forgotten]:
                self._remove("Endpoint", one)
        self._answers.set()

    def forget(self, kind: str, identifier: str) -> None:
        """An object is lost."""
        with self._lock:
            self._remove(kind, self._get(kind, identifier))

    def duplicate(self, identifier: str, **changes: Any) -> str:
        """A second endpoint like this one, in no namespace, but for these fields; returns its ID."""
        with self._lock:
            copy: Object = json.loads(json.dumps(self._get("Endpoint", identifier)))
            copy.pop("HostComputeNamespace", None)
            return str(self._keep("Endpoint", copy | {"ID": str(uuid.uuid4())} | changes)["ID"])

    def endpoints(self, name: str = "") -> list[Object]:
        """All, or those of that name."""
        with self._lock:
            return [one for one in self.objects["Endpoint"].values() if name in {"", one.get("Name")}]

    # How

    def _carried_out(self, verb: str, kind: str, work: Callable[[], Answer]) -> Answer:
        call = Call(verb, kind)
        hung = not self._answers.is_set()
        if hung:
            with self._lock:
                self.hanging += 1
        self._answers.wait()
        if hung or self.away:
            raise RefusedCall(CALL_FAILED if hung else SERVER_UNAVAILABLE, "The RPC server is unavailable.")
        with self._lock:
            self.calls.append(call)
            _raise(self.on_call(call))
            answer = work()
            _raise(self.after_call(call))
            return answer

    def _matching(self, kind: str, query: str) -> list[str]:
        wanted = _parsed(query, schema.QUERY, INVALID_JSON).get("Filter")
        asked = json.loads(wanted) if wanted else {}
        if unknown := asked.keys() - _FILTERS.keys():
            raise RefusedCall(INVALID_JSON, f"no filter by {', '.join(sorted(unknown))}")
        return [
            key.upper()
            for key, one in self.objects[kind].items()
            if all(str(one.get(_FILTERS[name], "")).lower() == value.lower() for name, value in asked.items())
        ]

    def _get(self, kind: str, identifier: str) -> Object:
        found = self.objects[kind].get(identifier.lower())
        if found is None:
            raise RefusedCall(_ABSENT[kind], f"{kind} {identifier} was not found")
        return found

    def _keep(self, kind: str, document: Object) -> Object:
        shown: Object = {"Flags": 0, "Health": {"Data": None, "Extra": {}}} | document
        shown["ID"] = str(shown.get("ID", uuid.uuid4())).lower()
        self.objects[kind][shown["ID"]] = shown
        return shown

    def _make_network(self, text: str, _: str) -> Object:
        document = _parsed(text, schema.NETWORK, INVALID_NETWORK)
        if any(one["Name"] == document["Name"] for one in self.objects["Network"].values()):
            raise RefusedCall(NETWORK_EXISTS, "A network with this name already exists")
        _check_policies(document.get("Policies", []), schema.NETWORK_POLICIES)
        for policy in document.get("Policies", []):
            name = policy["Settings"].get("NetworkAdapterName")
            if name is not None and name not in self.adapters:
                raise RefusedCall(ADAPTER_NOT_FOUND, "An adapter was not found")
        return document

    def _make_endpoint(self, text: str, network: str) -> Object:
        document = _parsed(text, schema.ENDPOINT, INVALID_ENDPOINT)
        ipams = self._get("Network", network).get("Ipams", [])
        subnets = [ipaddress.ip_network(one["IpAddressPrefix"]) for ipam in ipams for one in ipam["Subnets"]]
        taken = {one["IpAddress"] for other in self.endpoints() for one in other.get("IpConfigurations", [])}
        for one in document.get("IpConfigurations", []):
            if one["IpAddress"] in taken or not any(ipaddress.ip_address(one["IpAddress"]) in it for it in subnets):
                raise RefusedCall(INVALID_IP, f"The IP address {one['IpAddress']} is invalid or in no subnet")
        _check_policies(document.get("Policies", []), schema.ENDPOINT_POLICIES)
        number = next(self._numbers)
        mac = f"00-15-5D-00-{number >> 8:02X}-{number & 0xFF:02X}"
        return document | {"HostComputeNetwork": network, "MacAddress": document.get("MacAddress") or mac}

    def _make_namespace(self, text: str, _: str) -> Object:
        document = _parsed(text, schema.NAMESPACE, INVALID_JSON)
        return document | {"NamespaceId": next(self._numbers) + 1, "Resources": []}

    @staticmethod
    def _set_policies(endpoint: Object, text: str) -> None:
        request = _parsed(text, schema.ENDPOINT_REQUEST, INVALID_JSON)
        settings = request.get("Settings", {})
        if request["ResourceType"] != "Policy" or (fault := schema.POLICY_SETTINGS(settings)):
            raise RefusedCall(REQUEST_UNSUPPORTED, fault if request["ResourceType"] == "Policy" else "a port")
        _check_policies(settings["Policies"], schema.ENDPOINT_POLICIES)
        present, given = endpoint.setdefault("Policies", []), settings["Policies"]
        match request["RequestType"]:
            case "Update":
                endpoint["Policies"] = given
            case "Add":
                endpoint["Policies"] = present + given
            case "Remove":
                endpoint["Policies"] = [policy for policy in present if policy not in given]
            case other:
                raise RefusedCall(REQUEST_UNSUPPORTED, f"{other} of policies")

    def _attach_or_detach(self, namespace: Object, text: str) -> None:
        request = _parsed(text, schema.NAMESPACE_REQUEST, INVALID_JSON)
        if request["ResourceType"] != "Endpoint":
            raise RefusedCall(REQUEST_UNSUPPORTED, "a container")
        endpoint = self._get("Endpoint", request["Settings"]["EndpointId"])
        match request["RequestType"]:
            case "Add":
                if endpoint.get("HostComputeNamespace"):
                    raise RefusedCall(IN_A_NAMESPACE, "The endpoint is part of a network namespace already")
                endpoint["HostComputeNamespace"] = namespace["ID"]
                namespace["Resources"].append({"Type": "Endpoint", "Data": {"Id": endpoint["ID"].upper()}})
            case "Remove":
                if endpoint.get("HostComputeNamespace") != namespace["ID"]:
                    raise RefusedCall(NOT_FOUND, "Element not found.")
                self._take_out(endpoint)
            case other:
                raise RefusedCall(REQUEST_UNSUPPORTED, f"{other} of an endpoint")

    def _take_out(self, endpoint: Object) -> None:
        namespace = self.objects["Namespace"].get(str(endpoint.pop("HostComputeNamespace", "")))
        if namespace is not None:
            left = [one for one in namespace["Resources"] if one["Data"]["Id"].lower() != endpoint["ID"]]
            namespace["Resources"] = left

    def _remove(self, kind: str, found: Object) -> None:
        if kind == "Network" and any(one["HostComputeNetwork"] == found["ID"] for one in self.endpoints()):
            raise RefusedCall(HAS_REFERENCES, "The entity cannot be removed while it still has references")
        if kind == "Endpoint":
            self._take_out(found)
        if kind == "Namespace":
            for one in self.endpoints():
                if one.get("HostComputeNamespace") == found["ID"]:
                    del one["HostComputeNamespace"]
        del self.objects[kind][found["ID"]]


def _parsed(text: str, check: schema.Check, result: int) -> Object:
    try:
        document = json.loads(text)
    except ValueError:
        raise RefusedCall(INVALID_JSON, "Invalid JSON document string") from None
    if fault := check(document):
        raise RefusedCall(result, f"the document {fault}")
    return dict(document)


def _check_policies(policies: list[Object], known: Any) -> None:
    unknown, fault = schema.policies_fault(policies, known)
    if fault:
        raise RefusedCall(INVALID_POLICY_TYPE if unknown else INVALID_POLICY, fault)


def _raise(result: int) -> None:
    if result:
        raise RefusedCall(result, "as the test wants it")
