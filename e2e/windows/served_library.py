"""The stand-in for HNS behind the real library's place, for tests that run on Windows Python (e2e/windows).

The library is computenetwork.dll of e2e/windows/libraries. It asks a service on the loopback, which is this process. So
a test acts on the stand-in as everywhere, and what it tries passes through the library.
"""

from __future__ import annotations

import os

from azure_cni.windows.computenetwork import ComputeNetwork
from azure_cni.windows.libraries import load_libraries
from fakehns.server import HnsServer
from fakehns.service import FakeHns

_serving: list[tuple[FakeHns, HnsServer]] = []
"""At most one: a process has one HNS at a time, as a node has."""


def served(hns: FakeHns) -> ComputeNetwork:
    """HCN on this stand-in from now on. Calls of one before it that still hang fail."""
    if not _serving or _serving[0][0] is not hns:
        while _serving:
            _serving.pop()[1].stop()
        server = HnsServer(hns)
        server.start()
        _serving.append((hns, server))
        os.environ["FAKEHNS_PORT"] = str(server.port)
    return load_libraries().hcn
