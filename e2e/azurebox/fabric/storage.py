"""The storage host: lets in whom its network rules name, and says whom it sees calling and from which subnet.

Usage: storage.py FILE, with a listening socket as its standard input. FILE holds the rules as JSON and is read again
for each request: {"open": bool, "subnets": {prefix: subnet id}, "allowed": [subnet id]}. Who comes by a service
endpoint has a private address, by which its subnet is known; all others come from public addresses.

Azure documentation, "Configure Azure Storage firewalls and virtual networks": who is not let in gets 403,
AuthorizationFailure. Standard library only, run on its own.
"""

import json
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

REFUSED = "AuthorizationFailure"
TEXT = "This request is not authorized to perform this operation."


class Storage(BaseHTTPRequestHandler):
    """`{"host": "storage", "caller": "10.240.0.7", "subnet": "/subscriptions/..."}`, the subnet "" for the internet."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    rules = Path()

    def do_GET(self) -> None:
        rules = json.loads(self.rules.read_text())
        caller = IPv4Address(self.client_address[0])
        subnet = next((name for prefix, name in rules["subnets"].items() if caller in IPv4Network(prefix)), "")
        if rules["open"] or (subnet and subnet in rules["allowed"]):
            body = json.dumps({"host": "storage", "caller": str(caller), "subnet": subnet}) + "\n"
            self._answer(HTTPStatus.OK, body, "application/json")
            return
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{REFUSED}</Code><Message>{TEXT}</Message></Error>'
        self._answer(HTTPStatus.FORBIDDEN, body, "application/xml")

    def _answer(self, status: HTTPStatus, body: str, kind: str) -> None:
        self.send_response(status, TEXT if status is HTTPStatus.FORBIDDEN else None)
        self.send_header("Content-Type", kind)
        if status is HTTPStatus.FORBIDDEN:
            self.send_header("x-ms-error-code", REFUSED)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Keep silent: the log is for what goes wrong."""


def main() -> None:
    Storage.rules = Path(sys.argv[1])
    server = ThreadingHTTPServer(("", 0), Storage, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=sys.stdin.fileno())
    server.serve_forever()


if __name__ == "__main__":
    main()
