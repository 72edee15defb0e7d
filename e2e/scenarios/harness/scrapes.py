"""Metrics as others read them: by Prometheus, and by a scrape of one's own."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from azurebox import prometheus
from azurebox.client import Box
from azurebox.facts import CONTROL_PLANE
from azurebox.steps import StepError
from scenarios.harness.node import Node
from scenarios.harness.pods import INSIDE

WITHIN_S = 120.0

SCRAPE = """
import json, ssl, sys, urllib.error, urllib.request
url, token, authority, name = sys.argv[1:]
context = ssl.create_default_context(cadata=authority or None)
if not authority:
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if name:
    wrap = context.wrap_socket
    context.wrap_socket = lambda *args, **options: wrap(*args, **{**options, "server_hostname": name})
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token} if token else {})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
try:
    reply = opener.open(request, timeout=10)
except urllib.error.HTTPError as error:
    reply = error
except OSError as error:
    print(json.dumps([0, str(error)]))
    sys.exit()
print(json.dumps([reply.status, reply.read().decode()]))
"""
"""`authority`: PEM, "" for no check; `name`: by which the server is checked instead of its address."""


@dataclass(frozen=True, slots=True)
class Reply:
    """HTTP status and text; status 0, and why, where there was no answer."""

    status: int
    text: str


def scrape(node: Node, url: str, *, token: str = "", authority: str = "", name: str = "") -> Reply:
    """One request from the node's own network."""
    return Reply(*json.loads(node.run("python3", "-c", SCRAPE, url, token, authority, name)))


def await_data(box: Box, queries: Mapping[str, str], *, within_s: float = WITHIN_S) -> None:
    """Wait until Prometheus has at least one number for each of the queries, which have names."""
    urls = {name: f"127.0.0.1:{prometheus.PORT}/api/v1/query?query={quote(query)}" for name, query in queries.items()}

    def answered() -> bool:
        replies = json.loads(box.exec(CONTROL_PLANE, ["python3", "-c", INSIDE, "ask", *urls.values()]))
        numbers = {
            name: [float(entry["value"][1]) for entry in json.loads(replies[url])["data"]["result"]]
            for name, url in urls.items()
        }
        if empty := [name for name, found in numbers.items() if all(map(math.isnan, found))]:
            raise StepError("not yet", output=f"nothing for {empty}")
        return True

    box.wait_for(answered, within_s, "a number for each query")


def await_query(box: Box, query: str, value: int, *, within_s: float = WITHIN_S) -> None:
    """Wait until Prometheus answers the query with this one value; it scrapes every 5 s."""
    url = f"127.0.0.1:{prometheus.PORT}/api/v1/query?query={quote(query)}"

    def answered() -> bool:
        reply = json.loads(json.loads(box.exec(CONTROL_PLANE, ["python3", "-c", INSIDE, "ask", url]))[url])
        values = [float(entry["value"][1]) for entry in reply["data"]["result"]]
        if values != [value]:
            raise StepError("not yet", output=f"it is {values}")
        return True

    box.wait_for(answered, within_s, f"{query} to be {value}")
