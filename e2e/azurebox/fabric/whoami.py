"""A host beyond the VNet: answers each `GET /whoami` with its own name and whom it sees calling.

Usage: whoami.py NAME, with a listening socket as its standard input. Standard library only, run on its own.
"""

import json
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WhoAmI(BaseHTTPRequestHandler):
    """`{"host": "onprem", "caller": "10.240.0.7"}`: the caller is the source address of the connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # an idle connection does not keep its thread for ever
    host = ""

    def do_GET(self) -> None:
        if self.path == "/whoami":
            self._answer(HTTPStatus.OK, {"host": self.host, "caller": self.client_address[0]})
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"no {self.path} here, ask for /whoami"})

    def _answer(self, status: HTTPStatus, document: dict[str, str]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep silent: the log is for what goes wrong."""


def main() -> None:
    WhoAmI.host = sys.argv[1]
    server = ThreadingHTTPServer(("", 0), WhoAmI, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=sys.stdin.fileno())
    server.serve_forever()


if __name__ == "__main__":
    main()
