"""What somebody does with the token of one node's agent: standard library only.

    liar.py SECONDS KIND NODE < ACCESS

ACCESS is JSON: {"server": URL of the API server, "ca": PEM, "token": the token}. The status of that node's NodeIPPool
is written again and again, as fast as the API server answers one caller:

true        that other addresses cool, which nobody else reads: what as many writes cost that say nothing
large       an operation as long as the definition takes it, half a megabyte with what pods have attached
dropped     an operation of a megabyte, of which the definition names nothing
nic         another NIC each time, for which 250 addresses are asked
nothing     another NIC each time, for which none is asked
vnet        another VNet each time
throttled   that Azure asks to wait for the next twenty minutes
waiting     that a hundred pods wait, with a new request each time
allocated   that the NIC holds as many addresses as the definition allows
all         any of these six, in turns

Prints what it did as JSON: {"tries": number, "answers": number of writes that were taken, "failures": {why: number}}.
"""

import http.client
import json
import os
import ssl
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

MOST = 20_000
TIMEOUT_S = 10.0
POOLS = "/apis/azure-cni.io/v1alpha1/nodeippools"
PARTS = 70_000
IDS = ["x" * 96] * 1024
LONGEST_OPERATION = {
    "groups": ["<" * 512] * 20,
    "remove": ["x" * 80] * 256,
    "attach": [{"config": "x" * 80, "add": [1023] * 32, "remove": [1023] * 32}] * 256,
    "resources": IDS,
}
LONGEST = {"vnetAttachments": IDS, "excluded": ["x" * 320] * 256}
KINDS = ("nic", "nothing", "vnet", "throttled", "waiting", "allocated")


def lie(kind: str, number: int, truth: Mapping[str, Any]) -> dict[str, Any]:
    """The status that a kind writes the `number`-th time; `truth` is what the agent wrote."""
    asked = {"requestID": truth["requestID"] + number, "writeIntent": "Grow"}
    other_nic = f"{truth['nicID']}-{number}"
    later_s = time.time() + 1200 + number % 60
    lies = {
        "true": {"cooling": number % 100},
        "large": asked | LONGEST | {"nicOperation": {"id": number, "kind": "none", **LONGEST_OPERATION}},
        "dropped": asked | {"nicOperation": {"id": number, "kind": "none", "parts": [{"part": "x"}] * PARTS}},
        "nic": asked | {"nicID": other_nic, "requested": 250, "allocated": 0},
        "nothing": asked | {"nicID": other_nic, "requested": 0, "allocated": 0},
        "vnet": asked | {"vnetID": f"{truth['vnetID']}-{number}", "requested": 250},
        "throttled": {"throttledUntil": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(later_s))},
        "waiting": asked | {"waiting": 100, "requested": 250, "free": 0},
        "allocated": asked | {"allocated": 256, "requested": 256},
    }
    return lies[KINDS[number % len(KINDS)] if kind == "all" else kind]


def main(arguments: Sequence[str]) -> None:
    seconds, kind, node = arguments
    os.nice(19)
    access = json.load(sys.stdin)
    end_s = time.monotonic() + float(seconds)
    place = urlsplit(access["server"])
    trust = ssl.create_default_context(cadata=access["ca"])
    connection = http.client.HTTPSConnection(place.hostname or "", place.port, timeout=TIMEOUT_S, context=trust)
    headers = {"Authorization": f"Bearer {access['token']}", "Content-Type": "application/merge-patch+json"}

    def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    status, pool = ask("GET", f"{POOLS}/{node}")
    if status != http.client.OK:
        sys.exit(f"cannot read the pool of {node}: {pool}")
    tries = answers = 0
    failures: Counter[str] = Counter()
    while time.monotonic() < end_s and tries < MOST:
        tries += 1
        try:
            status, answer = ask("PATCH", f"{POOLS}/{node}/status", {"status": lie(kind, tries, pool["status"])})
        except (OSError, http.client.HTTPException) as error:
            failures[type(error).__name__] += 1
            connection.close()
            continue
        answers += status == http.client.OK
        if status != http.client.OK:
            failures[str(answer.get("message", status))[:200]] += 1
    if kind in ("large", "dropped"):
        ask("PATCH", f"{POOLS}/{node}/status", {"status": {"nicOperation": None}})
    print(json.dumps({"tries": tries, "answers": answers, "failures": dict(failures.most_common(5))}))


if __name__ == "__main__":
    main(sys.argv[1:])
