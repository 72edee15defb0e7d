"""One controller: the product's own, on a clock and a loop of the run's pace, set by its environment as in a pod."""

import sys

from azure_cni.cluster.election import LeaseTiming
from azure_cni.entrypoints import controller_settings, logs
from azure_cni.entrypoints.controller import Controller
from azure_cni.kube.client import REQUEST_TIMEOUT_S, KubeClient, KubeEndpoint
from simulation.pace import ClusterClock
from simulation.plan import AzureFacts, Run

RECLAIM_S = 15
"""With faults, so that nodes that come back meet it: a run is over before it is due as it is by default."""


def main(path: str, name: str, lease: str) -> None:
    """Run until asked to stop."""
    run = Run.load(path)
    azure = AzureFacts.load(run.directory)
    settings = controller_settings.read({
        "AZURE_CNI_POD_NAME": name,
        "AZURE_CNI_NAMESPACE": "default",
        "AZURE_CNI_LEASE_NAME": lease,
        "AZURE_CNI_QUOTA_LIMIT": str(run.scenario.limit),
        "AZURE_CNI_QUOTA_WRITES_PER_MINUTE": str(run.scenario.writes_per_minute),
        "AZURE_CNI_ARM_ENDPOINT": azure.arm,
        "AZURE_CNI_IMDS_ENDPOINT": azure.imds,
        "AZURE_CNI_CA_FILE": str(azure.ca_file),
        "AZURE_CNI_METRICS_PORT": "0",
        "AZURE_CNI_METRICS_BIND": "loopback",
        **({"AZURE_CNI_RECLAIM_S": str(RECLAIM_S)} if run.scenario.faults_s else {}),
    })  # fmt: skip
    logs.set_up_logs(level=settings.log_level, style="text")
    patient_with_the_api_server(run)
    if not run.scenario.faults_s:
        _patient_with_the_lease(run)
    endpoint = KubeEndpoint(run.api_url, token=run.token, ca_file=run.api_ca)
    run.pace.run(Controller(settings, endpoint=endpoint, clock=ClusterClock(run.pace)).run)


def patient_with_the_api_server(run: Run) -> None:
    """The API server runs in real time: it has as many real seconds to answer as it has outside a simulation."""
    defaults = KubeClient.__init__.__kwdefaults__ or {}
    defaults["timeout_s"] = REQUEST_TIMEOUT_S * run.pace.speed


def _patient_with_the_lease(run: Run) -> None:
    """The same for the lease, which would be lost to a slow machine; with faults it may be, and others take over."""
    usual, speed = LeaseTiming(), run.pace.speed
    LeaseTiming.__init__.__defaults__ = (usual.duration_s * speed, usual.give_up_s * speed, usual.retry_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
