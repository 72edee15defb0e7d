"""What runs on a node while something happens to it: standard library only, given to the node's python3 as text.

    witness.py SECONDS PLUGIN CONFLIST PORT...

`WORKERS` at a time add and delete a sandbox each `PERIOD_S` as a container runtime does it, by the CNI plugin of that
path, while /healthz of the PORTs on loopback is asked each `PROBE_S` as the kubelet does. Prints as JSON:

    {"adds": [ms], "refused": [what the plugin said], "probes": [ms], "unanswered": [port and why]}
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WORKERS = 3
PERIOD_S = 0.075
PROBE_S = 0.25
PROBE_TIMEOUT_S = 5.0
"""As in the chart's probes."""
NAMESPACES = 8
"""Of each worker, used in turns: the kernel removes a link a moment after the answer to its DEL."""

adds: list[float] = []
refused: list[str] = []
probes: list[float] = []
unanswered: list[str] = []


def call(command: str, sandbox: str, place: str, plugin: str, configuration: bytes) -> float | None:
    """Seconds that one call of the plugin took; None when it refused."""
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": f"witness-{os.getpid()}-{sandbox}",
        "CNI_NETNS": f"/run/netns/{place}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(Path(plugin).parent),
    }
    begun_s = time.perf_counter()
    done = subprocess.run([plugin], input=configuration, env=variables, capture_output=True, check=False)
    took_s = time.perf_counter() - begun_s
    if done.returncode:
        refused.append(f"{command}: {done.stdout.decode()[:300]}")
        return None
    return took_s


def add_and_delete(worker: int, seconds: float, plugin: str, conflist: str) -> None:
    """One sandbox after the other."""
    whole = json.loads(Path(conflist).read_text())
    configuration = json.dumps(whole["plugins"][0] | {"cniVersion": "1.0.0", "name": whole["name"]}).encode()
    places = [f"witness-{worker}-{number}" for number in range(NAMESPACES)]
    for place in places:
        subprocess.run(["ip", "netns", "add", place], check=True)
    due_s = time.monotonic() + worker * PERIOD_S / WORKERS
    end_s = due_s + seconds
    number = 0
    try:
        while due_s < end_s:
            time.sleep(max(0.0, due_s - time.monotonic()))
            sandbox, place = f"{worker}-{number}", places[number % NAMESPACES]
            took_s = call("ADD", sandbox, place, plugin, configuration)
            if took_s is not None:
                adds.append(round(took_s * 1e3, 2))
            call("DEL", sandbox, place, plugin, configuration)
            number += 1
            due_s = max(due_s + PERIOD_S, time.monotonic())
    finally:
        for place in places:
            subprocess.run(["ip", "netns", "delete", place], check=True)


def probe(port: int, over: threading.Event) -> None:
    """Ask for /healthz until it is over."""
    while not over.wait(PROBE_S):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT_S)
        begun_s = time.perf_counter()
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
            if status == http.client.OK:
                probes.append(round((time.perf_counter() - begun_s) * 1e3, 2))
            else:
                unanswered.append(f"port {port}: status {status}")
        except (OSError, http.client.HTTPException) as error:
            unanswered.append(f"port {port}: {error!r}")
        finally:
            connection.close()


def main(arguments: Sequence[str]) -> None:
    seconds, plugin, conflist, *ports = arguments
    over = threading.Event()
    probing = [threading.Thread(target=probe, args=(int(port), over)) for port in ports]
    for thread in probing:
        thread.start()
    try:
        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(lambda worker: add_and_delete(worker, float(seconds), plugin, conflist), range(WORKERS)))
    finally:
        over.set()
        for thread in probing:
            thread.join()
    print(json.dumps({"adds": adds, "refused": refused, "probes": probes, "unanswered": unanswered}))


if __name__ == "__main__":
    main(sys.argv[1:])
