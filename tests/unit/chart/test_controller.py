"""The controller's objects, and what the choice of who writes the NIC changes in the agent's."""

from typing import Any

import pytest

from unit.chart.helm import WORKLOAD, agent_env, agent_pod, controller_env, controller_pod, of_kind, render, rights

OFF = "controller.enabled=false"
BY_CONTROLLER = "nicWriter=controller"
CA = "azure.caBundle.configMap=authorities"
AZURE = {
    "AZURE_CNI_CLOUD",
    "AZURE_CNI_ARM_ENDPOINT",
    "AZURE_CNI_IDENTITY",
    "AZURE_CNI_CLIENT_ID",
    "AZURE_CNI_CA_FILE",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
}
ALL_OF_AZURE = (WORKLOAD, CA, "azure.resourceManagerEndpoint=https://arm.example")


def container(*values: str) -> dict[str, Any]:
    (found,) = controller_pod(*values)["spec"]["containers"]
    return dict(found)


def test_the_controller_has_no_more_power_than_it_needs():
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    context = controller_pod()["spec"]["securityContext"]
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert context["runAsUser"] == context["fsGroup"] != 0
    assert "volumes" not in controller_pod()["spec"]


def test_keys_of_its_security_context_are_added_to_the_charts_own():
    values = "controller.securityContext.runAsUser=1000"
    assert container(values)["securityContext"] == {**container()["securityContext"], "runAsUser": 1000}


def test_the_controller_has_no_more_rights_than_it_needs():
    assert rights(of_kind("ClusterRole", name="azure-cni-controller")) == {
        ("azure-cni.io", "nodeippools"): ["get", "list", "watch"],
        ("azure-cni.io", "nodeippools/status"): ["patch"],
        ("azure-cni.io", "vnetquotas"): ["get", "list", "watch", "create", "delete"],
        ("azure-cni.io", "vnetquotas/status"): ["patch"],
        ("", "nodes"): ["get"],
    }
    more = rights(of_kind("ClusterRole", BY_CONTROLLER, name="azure-cni-controller"))
    assert more == rights(of_kind("ClusterRole", name="azure-cni-controller"))
    role = of_kind("Role", name="azure-cni-controller")
    assert role["metadata"]["namespace"] == "kube-system"
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [controller_env()["AZURE_CNI_LEASE_NAME"]],
            "verbs": ["get", "patch"],
        },
    ]
    events = of_kind("Role", name="azure-cni-controller-events")
    assert events["metadata"]["namespace"] == "default"  # events about a VNetQuota, and nobody's pods
    assert events["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}]


def test_the_controller_needs_no_pod_network():
    """Where the first pods wait for addresses, it must run already."""
    spec = controller_pod()["spec"]
    assert spec["hostNetwork"] is True
    assert spec["dnsPolicy"] == "Default"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-cluster-critical"


def test_two_share_no_node_and_a_drain_takes_one_at_a_time():
    deployment, budget = of_kind("Deployment"), of_kind("PodDisruptionBudget")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (port,) = container()["ports"]
    assert port["containerPort"] == port["hostPort"] == 9811
    assert budget["spec"]["maxUnavailable"] == 1
    selector = {"matchLabels": deployment["spec"]["selector"]["matchLabels"]}
    assert budget["spec"]["selector"] == selector
    assert selector["matchLabels"].items() <= controller_pod()["metadata"]["labels"].items()
    assert not selector["matchLabels"].items() <= agent_pod()["metadata"]["labels"].items()


def test_probes_and_scrapes_find_the_port():
    values = "controller.metricsPort=9900"
    assert controller_env(values)["AZURE_CNI_METRICS_PORT"] == "9900"
    assert controller_pod(values)["metadata"]["annotations"]["prometheus.io/port"] == "9900"
    assert {probe: container(values)[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")} == {
        "livenessProbe": {"path": "/healthz", "host": "127.0.0.1", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "host": "127.0.0.1", "port": "metrics"},
    }


def test_a_rolling_update_soon_hears_that_a_controller_is_ready_and_a_short_silence_takes_nothing_back():
    probe = container()["readinessProbe"]
    assert probe["periodSeconds"] <= 2
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 15


@pytest.mark.parametrize("process", ["agent", "controller"])
def test_a_service_monitor_selects_the_service_of_its_own_process(process: str):
    values = ("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus")
    monitor = of_kind("ServiceMonitor", *values, name=f"azure-cni-{process}")
    service = of_kind("Service", *values, name=f"azure-cni-{process}-metrics")
    pods = {"agent": agent_pod(), "controller": controller_pod()}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [name for name, pod in pods.items() if selects(service, pod)] == [process]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert {"Service", "ServiceMonitor"}.isdisjoint({manifest["kind"] for manifest in render()})


def selects(service: dict[str, Any], pod: dict[str, Any]) -> bool:
    return bool(service["spec"]["selector"].items() <= pod["metadata"]["labels"].items())


def test_values_reach_the_controller_as_it_reads_them():
    env = controller_env("quota.limit=20", "quota.perNodeLimit=16", "quota.writesPerMinute=50", "quota.reserved=4")
    assert env == {
        "AZURE_CNI_POD_NAME": None,
        "AZURE_CNI_NAMESPACE": None,
        "AZURE_CNI_LEASE_NAME": "azure-cni-controller",
        "AZURE_CNI_QUOTA_LIMIT": "20",
        "AZURE_CNI_QUOTA_PER_NODE": "16",
        "AZURE_CNI_QUOTA_WRITES_PER_MINUTE": "50",
        "AZURE_CNI_QUOTA_RESERVED": "4",
        "AZURE_CNI_NIC_WRITER": "agent",
        "AZURE_CNI_CLOUD": "AzurePublicCloud",
        "AZURE_CNI_ADOPT": "plain",
        "AZURE_CNI_SHRINK_SCALE_SETS": "false",
        "AZURE_CNI_IDENTITY": "managed",
        "AZURE_CNI_RECLAIM_S": "300",
        "AZURE_CNI_USAGES_S": "300",
        "AZURE_CNI_METRICS_PORT": "9811",
        "AZURE_CNI_METRICS_BIND": "node",
        "AZURE_CNI_HOST_IP": None,
        "AZURE_CNI_LOG_LEVEL": "info",
        "AZURE_CNI_LOG_FORMAT": "json",
    }


def test_that_scale_sets_shrink_is_known_to_whoever_writes_nics():
    for env in (agent_env, controller_env):
        assert env("scaleSets.shrink=true")["AZURE_CNI_SHRINK_SCALE_SETS"] == "true"
        assert env()["AZURE_CNI_SHRINK_SCALE_SETS"] == "false"
    assert "AZURE_CNI_SHRINK_SCALE_SETS" not in agent_env("nicWriter=controller")


def test_without_a_controller_nodes_grant_themselves():
    assert agent_env()["AZURE_CNI_GRANTS"] == "controller"
    assert agent_env(OFF)["AZURE_CNI_GRANTS"] == "self"
    left = [manifest["metadata"]["name"] for manifest in render(OFF) if "controller" in manifest["metadata"]["name"]]
    assert left == []


def test_a_change_for_the_controller_restarts_no_agent():
    values = ("controller.replicas=1", "controller.logLevel=debug", "quota.limit=99", "admission.enabled=false")
    assert agent_pod(*values) == agent_pod()


def test_where_the_controller_writes_the_agent_knows_nothing_of_azure():
    assert agent_env(*ALL_OF_AZURE).keys() >= AZURE
    env = agent_env(*ALL_OF_AZURE, BY_CONTROLLER)
    assert env["AZURE_CNI_NIC_WRITER"] == "controller"
    assert env.keys().isdisjoint(AZURE)
    agent = agent_pod(*ALL_OF_AZURE, BY_CONTROLLER)["spec"]
    (container,) = agent["containers"]
    for names in (agent["volumes"], container["volumeMounts"]):
        assert {"ca", "azure-token"}.isdisjoint({entry["name"] for entry in names})


@pytest.mark.parametrize("writer", ["agent", "controller"])
def test_the_controller_knows_azure_whoever_writes(writer: str):
    """Not to write, but to count the VNet and to look for the NICs of nodes that are gone."""
    values = (*ALL_OF_AZURE, f"nicWriter={writer}")
    assert controller_env(*values).keys() >= AZURE
    assert [volume["name"] for volume in controller_pod(*values)["spec"]["volumes"]] == ["ca", "azure-token"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container(*values)["volumeMounts"]}
    assert controller_env(*values)["AZURE_CNI_CA_FILE"] == f"{mounted['ca']}/ca.crt"
    assert str(controller_env(*values)["AZURE_FEDERATED_TOKEN_FILE"]).startswith(f"{mounted['azure-token']}/")


ATTESTATION = "azure.attestation.caBundle.configMap=signers"


def test_a_controller_that_writes_nics_has_settings_for_who_must_attest_and_whom_to_trust():
    assert not {name for name in controller_env() if name.startswith("AZURE_CNI_ATTESTATION")}
    assert not {name for name in agent_env(BY_CONTROLLER) if name.startswith("AZURE_CNI_ATTESTATION")}
    env = controller_env(BY_CONTROLLER)
    assert (env["AZURE_CNI_ATTESTATION"], "AZURE_CNI_ATTESTATION_CA_FILE" in env) == ("withoutProviderID", False)
    assert controller_env(BY_CONTROLLER, "azure.attestation.required=always")["AZURE_CNI_ATTESTATION"] == "always"


def test_the_bundle_for_attested_documents_is_mounted_beside_the_one_for_azure():
    env = controller_env(BY_CONTROLLER, ATTESTATION, CA)
    pod = controller_pod(BY_CONTROLLER, ATTESTATION, CA)["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    names = {volume["name"]: volume["configMap"] for volume in pod["volumes"]}
    folder, _, file = env["AZURE_CNI_ATTESTATION_CA_FILE"].rpartition("/")
    assert names[mounts[folder]] == {"name": "signers", "items": [{"key": file, "path": file}]}
    assert names[mounts[env["AZURE_CNI_CA_FILE"].rpartition("/")[0]]]["name"] == "authorities"
    assert "volumes" not in controller_pod(ATTESTATION)["spec"]  # an agent that writes its NIC attests nothing
