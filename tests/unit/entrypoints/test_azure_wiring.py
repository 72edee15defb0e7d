"""A node that delegates never loads Azure's SDK: neither by what its agent imports, nor by building its ports.

Nor does it need the client of Kubernetes, which the command line alone has.
"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
sys.path[:0] = {path!r}
sys.modules["kubernetes"] = None  # as in the image, which has none: kopf loads it where it is installed
import azure_cni.entrypoints.agent
from azure_cni.entrypoints import settings
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.azure_wiring import azure_ports
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.api.node_ip_pool import parse
from azure_cni.kube.pools import KubePools
from azure_cni.model.nic import NicWriter
from contextlib import AsyncExitStack
from fakes.cloud import IDENTITY

read = settings.read({{"AZURE_CNI_NODE_NAME": "vm1", "AZURE_CNI_METRICS_BIND": "loopback"}})
pools = KubePools(KubeClient(KubeEndpoint("http://127.0.0.1:9", token="")), node_name="vm1")
ports = azure_ports(read.azure, NicWriter.CONTROLLER, pools=pools, observer=Metrics(), closing=AsyncExitStack())
ports.nic_of(IDENTITY)
ports.pool_seen(parse({{"metadata": {{"name": "vm1"}}, "status": {{}}}}))
print(*(name for name in sys.modules if name.split(".")[0] in {{"azure", "msal", "opentelemetry"}}))
"""


def test_no_sdk_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(path=sys.path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
