"""The stand-in for HNS as a service: what a computenetwork.dll in another process sends, and what it gets."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fakehns import service
from fakehns.server import INVALID_HANDLE, NOT_IMPLEMENTED, Answer, HnsServer, Message
from fakehns.service import FakeHns

NOBODY = "00000000-0000-0000-0000-000000000000"
V2 = {"SchemaVersion": {"Major": 2, "Minor": 0}}
NETWORK = V2 | {
    "Name": "azure",
    "Type": "L2Bridge",
    "Flags": 8,
    "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": "10.240.0.0/22"}]}],
}
ENDPOINT = V2 | {"Name": "pöd", "IpConfigurations": [{"IpAddress": "10.240.0.7", "PrefixLength": 22}]}


class Client:
    """A library. `call` is one of its functions."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=10)

    def call(self, function: str, text: object = "", *, handle: int = 0, identifier: str = NOBODY) -> Answer:
        written = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        self.connection.sendall(Message(handle, identifier, function, written).encoded())
        (size,) = struct.unpack("<I", self._read(4))
        return Answer.of(self._read(size))

    def _read(self, count: int) -> bytes:
        content = self.connection.recv(count, socket.MSG_WAITALL)
        if len(content) < count:
            raise ConnectionResetError
        return content


@pytest.fixture
def hns() -> FakeHns:
    return FakeHns()


@pytest.fixture
def server(hns: FakeHns) -> Iterator[HnsServer]:
    with HnsServer(hns) as running:
        yield running


@pytest.fixture
def client(server: HnsServer) -> Iterator[Client]:
    opened = Client(server.port)
    yield opened
    opened.connection.close()


def properties(answer: Answer) -> dict[str, object]:
    assert answer.result == 0
    assert answer.properties is not None
    found: dict[str, object] = json.loads(answer.properties)
    return found


def test_an_endpoint_is_made_shown_changed_and_removed(hns: FakeHns, client: Client) -> None:
    network = client.call("HcnCreateNetwork", NETWORK)
    assert (network.result, network.properties, network.record) == (0, None, "")
    assert network.handle > 1 << 32, "longer than a C int"
    endpoint = client.call("HcnCreateEndpoint", ENDPOINT, handle=network.handle)
    shown = properties(client.call("HcnQueryEndpointProperties", V2, handle=endpoint.handle))
    assert (shown["Name"], shown["ID"]) == ("pöd", hns.endpoints()[0]["ID"])
    listed = client.call("HcnEnumerateEndpoints", V2).properties
    assert [one.lower() for one in json.loads(listed or "")] == [shown["ID"]]

    namespace = hns.add_namespace()
    opened = client.call("HcnOpenNamespace", identifier=namespace)
    request = {"ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": shown["ID"]}}
    assert client.call("HcnModifyNamespace", request, handle=opened.handle) == Answer()
    assert hns.endpoints()[0]["HostComputeNamespace"] == namespace
    assert client.call("HcnDeleteEndpoint", identifier=str(shown["ID"])) == Answer()
    assert hns.endpoints() == []


def test_a_refusal_has_its_code_and_words(hns: FakeHns, client: Client) -> None:
    refused = client.call("HcnOpenEndpoint", identifier="12345678-1234-1234-1234-123456789abc")
    assert (refused.result, refused.handle) == (service.ENDPOINT_NOT_FOUND, 0)
    assert "was not found" in json.loads(refused.record)["Error"]
    assert client.call("HcnCreateNetwork", "{").result == service.INVALID_JSON
    assert client.call("HcnEnumerateLoadBalancers", V2).result == NOT_IMPLEMENTED
    hns.away = True
    assert client.call("HcnEnumerateEndpoints", V2).result == service.SERVER_UNAVAILABLE


def test_a_handle_is_good_on_every_connection_until_it_is_closed(server: HnsServer, client: Client) -> None:
    handle = client.call("HcnCreateNetwork", NETWORK).handle
    other = Client(server.port)
    assert properties(other.call("HcnQueryNetworkProperties", V2, handle=handle))["Name"] == "azure"
    assert other.call("HcnCloseNetwork", handle=handle) == Answer()
    other.connection.close()
    assert client.call("HcnCloseNetwork", handle=handle).result == INVALID_HANDLE
    assert client.call("HcnQueryNetworkProperties", V2, handle=handle).result == INVALID_HANDLE
    assert server.calls.handles == {}


def test_a_service_that_ends_breaks_connections_and_comes_back_on_its_port(server: HnsServer, client: Client) -> None:
    port = server.port
    client.call("HcnCreateNetwork", NETWORK)
    server.stop()
    with pytest.raises(OSError):  # noqa: PT011  # reset or refused, as it happens
        client.call("HcnEnumerateNetworks", V2)
    with pytest.raises(ConnectionRefusedError):
        Client(port)
    server.start()
    assert server.port == port
    assert len(json.loads(Client(port).call("HcnEnumerateNetworks", V2).properties or "")) == 1, "objects stay"


def test_a_call_that_hangs_holds_up_its_connection_alone(hns: FakeHns, server: HnsServer, client: Client) -> None:
    hns.hang()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(client.call("HcnEnumerateEndpoints", V2)))
    thread.start()
    until(lambda: hns.hanging == 1)
    Client(server.port).connection.close()
    assert answers == []
    hns.restart()
    thread.join(10)
    assert [answer.result for answer in answers] == [service.CALL_FAILED]


@pytest.mark.parametrize("content", [b"", b"short", struct.pack("<Q16sH", 0, b"", 3) + b"\xff\xff\xff"])
def test_what_is_no_message_ends_the_connection(client: Client, content: bytes) -> None:
    client.connection.sendall(struct.pack("<I", len(content)) + content)
    assert client.connection.recv(1) == b""


def until(predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.01)
