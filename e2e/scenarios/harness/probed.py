"""What a probed pod runs, given to its python3 as text: a server that says who asked for what, a line for each.

Standard library only. Prints "PATH CALLER", and answers 200 to everything.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    """One connection."""

    def do_GET(self) -> None:
        """Say it, and that all is well."""
        sys.stdout.write(f"{self.path} {self.client_address[0]}\n")  # in one piece: others print at the same time
        sys.stdout.flush()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that it overrides
        """Nothing but our own lines."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Answers).serve_forever()
