"""What test pods ask, and how they understand the answers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from scenarios.harness import inside


class Server(BaseHTTPRequestHandler):
    """As the test server answers; it remembers by which names it was asked."""

    protocol_version = "HTTP/1.1"
    names: ClassVar[list[str]] = []
    closes = False

    def do_GET(self) -> None:
        self.names.append(self.headers["Host"])
        host, port = self.client_address
        said = {"/hostname": "web-1", "/clientip": f"{host}:{port}"}[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        if self.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that it overrides
        """Nothing."""


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Server, "names", [])
    monkeypatch.setattr(Server, "closes", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_meeting_is_with_one_server_and_says_as_whom_it_saw_us(target: str):
    assert inside.meet(2, target) == [("web-1", "127.0.0.1")] * 2


def test_two_answers_on_two_connections_are_no_meeting(target: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Server, "closes", True)
    ((server, why),) = inside.meet(1, target)
    assert (server, why) == ("", "NotConnected")


def test_nobody_there_is_said_and_not_raised():
    ((server, why),) = inside.meet(1, "127.0.0.1:1")
    assert (server, "refused" in why) == ("", True)


def test_a_server_is_asked_by_another_name_than_its_address(target: str):
    asked = f"shop.example@{target}/hostname"
    assert inside.ask([asked, f"{target}/hostname"]) == {asked: "web-1", f"{target}/hostname": "web-1"}
    assert Server.names == ["shop.example", "127.0.0.1"]
