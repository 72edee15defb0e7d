import re
import subprocess
import tomllib
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from azure_cni import __version__
from unit.chart.helm import (
    CHART,
    GUID,
    REPOSITORY,
    WORKLOAD,
    agent_env,
    agent_pod,
    controller_pod,
    helm,
    of_kind,
    render,
    rights,
)


def container(*values: str) -> dict[str, Any]:
    (found,) = agent_pod(*values)["spec"]["containers"]
    return dict(found)


def mounts(*values: str) -> dict[str, dict[str, Any]]:
    return {mount["name"]: mount for mount in container(*values)["volumeMounts"]}


def test_the_agent_has_no_more_power_than_it_needs():
    assert container()["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]},
    }
    spec = agent_pod()["spec"]
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "hostPID" not in spec


def test_keys_of_a_security_context_are_added_to_the_charts_own():
    values = (
        "agent.securityContext.appArmorProfile.type=Unconfined",
        "agent.podSecurityContext.seLinuxOptions.type=spc",
    )
    assert container(*values)["securityContext"] == {
        **container()["securityContext"],
        "appArmorProfile": {"type": "Unconfined"},
    }
    assert agent_pod(*values)["spec"]["securityContext"] == {
        "seccompProfile": {"type": "RuntimeDefault"},
        "seLinuxOptions": {"type": "spc"},
    }


def test_the_agent_has_no_more_rights_than_it_needs():
    assert rights(of_kind("ClusterRole", name="azure-cni-agent")) == {
        ("azure-cni.io", "nodeippools"): ["get", "list", "watch", "create"],
        ("azure-cni.io", "nodeippools/status"): ["patch"],
        ("", "nodes"): ["get", "patch"],
        ("", "pods"): ["list", "watch"],
        ("", "events"): ["create", "patch"],
    }


def test_agents_read_namespaces_only_where_their_annotations_count():
    with_egress = rights(of_kind("ClusterRole", "podNetworking.egress.namespaces={*}", name="azure-cni-agent"))
    assert with_egress.pop(("", "namespaces")) == ["list", "watch"]
    assert with_egress == rights(of_kind("ClusterRole", name="azure-cni-agent"))


def test_who_may_view_the_cluster_sees_pools_and_quotas_and_changes_nothing():
    role = of_kind("ClusterRole", name="azure-cni-view")
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert rights(role) == {
        ("azure-cni.io", "nodeippools"): ["get", "list", "watch"],
        ("azure-cni.io", "vnetquotas"): ["get", "list", "watch"],
    }


def test_who_uses_the_command_line_reads_and_nothing_else_and_pausing_and_asking_agents_are_roles_of_their_own():
    assert rights(of_kind("ClusterRole", name="azure-cni-cli")) == {
        ("azure-cni.io", "nodeippools"): ["get", "list"],
        ("azure-cni.io", "vnetquotas"): ["get", "list"],
        ("", "nodes"): ["get", "list"],
        ("", "pods"): ["get", "list"],
        ("", "events"): ["get", "list"],
        ("", "services"): ["get", "list"],
        ("discovery.k8s.io", "endpointslices"): ["get", "list"],
        ("", "configmaps"): ["get"],
        ("apiextensions.k8s.io", "customresourcedefinitions"): ["get"],
        ("networking.k8s.io", "networkpolicies"): ["get", "list"],
        ("crd.projectcalico.org", "felixconfigurations"): ["get"],
        ("karpenter.sh", "nodepools"): ["get", "list"],
    }
    (settings,) = [
        rule for rule in of_kind("ClusterRole", name="azure-cni-cli")["rules"] if rule["resources"] == ["configmaps"]
    ]
    assert settings["resourceNames"] == ["kube-proxy", "cilium-config", "multus-daemon-config"]
    role = of_kind("Role", name="azure-cni-introspection")
    assert role["metadata"]["namespace"] == "kube-system"
    assert rights(role) == {("", "pods/exec"): ["get", "create"], ("", "pods/log"): ["get"]}
    assert rights(of_kind("ClusterRole", name="azure-cni-pause")) == {
        ("azure-cni.io", "nodeippools"): ["get", "list", "patch"]
    }
    assert rights(of_kind("ClusterRole", name="azure-cni-test")) == {
        ("", "pods"): ["get", "list", "create", "delete"],
        ("", "services"): ["get", "list", "create", "delete"],
        ("", "pods/exec"): ["get", "create"],
        ("", "namespaces"): ["get", "list"],
        ("", "events"): ["get", "list"],
    }
    bound = {
        manifest["roleRef"]["name"]
        for manifest in render()
        if manifest["kind"].endswith("RoleBinding")
        and "helm.sh/hook" not in manifest["metadata"].get("annotations", {})
    }
    assert bound.isdisjoint({"azure-cni-cli", "azure-cni-pause", "azure-cni-test", "azure-cni-introspection"})


def test_the_agent_runs_on_a_node_without_network():
    spec = agent_pod()["spec"]
    assert spec["hostNetwork"] is True
    assert spec["dnsPolicy"] == "Default"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_every_volume_is_mounted_and_every_mount_has_its_volume():
    for values in ((), (WORKLOAD, "azure.caBundle.configMap=authorities"), ("audit.enabled=false",)):
        assert [volume["name"] for volume in agent_pod(*values)["spec"]["volumes"]] == list(mounts(*values))


def test_the_directories_of_the_node_appear_under_their_own_names():
    """So that a path in a log or an error is the path on the node."""
    paths = {
        volume["name"]: volume["hostPath"]["path"]
        for volume in agent_pod("cni.binDir=/usr/libexec/cni")["spec"]["volumes"]
    }
    seen = mounts("cni.binDir=/usr/libexec/cni")
    assert paths["cni-bin"] == "/usr/libexec/cni"
    proc = {"sysctl", "processes"}
    assert {name: seen[name]["mountPath"] for name in paths.keys() - proc} == {
        name: path for name, path in paths.items() if name not in proc
    }
    assert seen["netns"]["mountPropagation"] == "HostToContainer"


def test_sysctls_are_where_the_agent_looks():
    assert f"{agent_env()['AZURE_CNI_SYSCTL_DIR']}/net" == mounts()["sysctl"]["mountPath"]


def test_the_nodes_processes_are_where_the_agent_looks_and_only_to_be_read():
    assert mounts()["processes"] == {
        "name": "processes",
        "mountPath": agent_env()["AZURE_CNI_PROCESS_DIR"],
        "readOnly": True,
    }


def test_the_audit_trail_is_where_the_agent_writes_it_and_only_where_it_is_wanted():
    values = ("audit.maxSizeMiB=7", "audit.maxDays=3")
    env = agent_env(*values)
    assert env["AZURE_CNI_AUDIT_DIR"] == mounts()["audit"]["mountPath"]
    assert (env["AZURE_CNI_AUDIT_MIB"], env["AZURE_CNI_AUDIT_DAYS"]) == ("7", "3")
    assert "audit" not in mounts("audit.enabled=false")
    assert "AZURE_CNI_AUDIT_DIR" not in agent_env("audit.enabled=false")


def test_docker_is_served_only_where_it_is_wanted_and_where_docker_looks():
    env, mounted = agent_env("docker.enabled=true"), mounts("docker.enabled=true")
    assert env["AZURE_CNI_DOCKER_SOCKET"] == mounted["docker-plugins"]["mountPath"] + "/azure-cni.sock"
    assert mounted["docker-plugins"]["mountPath"] == "/run/docker/plugins"
    assert env["AZURE_CNI_DOCKER_STATE_DIR"] == mounted["docker-networks"]["mountPath"]
    assert agent_env().keys().isdisjoint({"AZURE_CNI_DOCKER_SOCKET", "AZURE_CNI_DOCKER_STATE_DIR"})
    assert mounts().keys().isdisjoint({"docker-plugins", "docker-networks"})


def test_the_directory_of_docker_s_own_socket_is_mounted_read_only_and_only_where_it_is_wanted():
    """A mounted socket would be a dead one after Docker's next start, and where there is none no agent could start."""
    values = ("docker.enabled=true", "docker.engineSocket=/run/docker-api/docker.sock")
    assert agent_env(*values)["AZURE_CNI_DOCKER_ENGINE_SOCKET"] == "/run/docker-api/docker.sock"
    directory = {"name": "docker-engine", "mountPath": "/run/docker-api", "readOnly": True}
    assert mounts(*values)["docker-engine"] == directory
    (volume,) = [one for one in agent_pod(*values)["spec"]["volumes"] if one["name"] == "docker-engine"]
    assert volume["hostPath"] == {"path": "/run/docker-api", "type": "DirectoryOrCreate"}
    assert container(*values)["securityContext"] == container()["securityContext"]
    assert "AZURE_CNI_DOCKER_ENGINE_SOCKET" not in agent_env("docker.enabled=true")
    assert not [mount for mount in mounts("docker.enabled=true") if mount == "docker-engine"]


def test_the_namespaces_of_docker_s_containers_are_seen_where_its_lists_are_believed():
    """Else an agent never learns whether a container that Docker has lost is dead, and keeps its address."""
    values = ("docker.enabled=true", "docker.engineSocket=/run/docker-api/docker.sock")
    where = {"name": "docker-netns", "mountPath": "/run/docker/netns"}
    assert mounts(*values)["docker-netns"] == mounts()["netns"] | where  # those of later containers, too
    (volume,) = [one for one in agent_pod(*values)["spec"]["volumes"] if one["name"] == "docker-netns"]
    assert volume["hostPath"] == {"path": "/run/docker/netns", "type": "DirectoryOrCreate"}
    assert "docker-netns" not in mounts("docker.enabled=true")


def test_probes_and_scrapes_find_the_port():
    pod, ports = agent_pod("metrics.port=9900"), container("metrics.port=9900")["ports"]
    assert ports == [{"name": "metrics", "containerPort": 9900, "hostPort": 9900, "protocol": "TCP"}]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "9900"
    assert container()["livenessProbe"]["httpGet"] == {"path": "/healthz", "host": "127.0.0.1", "port": "metrics"}
    assert container()["readinessProbe"]["httpGet"] == {"path": "/readyz", "host": "127.0.0.1", "port": "metrics"}


def test_a_rolling_update_soon_hears_that_an_agent_is_ready_and_a_short_silence_takes_nothing_back():
    probe = container()["readinessProbe"]
    assert probe["periodSeconds"] <= 2
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 15


def test_scrape_annotations_can_be_switched_off():
    annotations = agent_pod("metrics.podAnnotations=false")["metadata"]["annotations"]
    assert not [name for name in annotations if name.startswith("prometheus.io/")]


@pytest.mark.parametrize("bind", ["loopback", "none"])
def test_a_port_that_prometheus_cannot_reach_is_not_announced(bind: str):
    assert agent_env(f"metrics.bind={bind}")["AZURE_CNI_METRICS_BIND"] == bind
    annotations = agent_pod(f"metrics.bind={bind}")["metadata"]["annotations"]
    assert not [name for name in annotations if name.startswith("prometheus.io/")]


def test_the_selector_never_changes_with_the_version():
    """A DaemonSet's selector is immutable: were a version in it, no upgrade would work."""
    daemonset = of_kind("DaemonSet")
    assert daemonset["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "azure-cni",
        "app.kubernetes.io/instance": "azure-cni",
        "app.kubernetes.io/component": "agent",
    }


def test_workload_identity_needs_no_webhook():
    env = agent_env(WORKLOAD)
    assert (env["AZURE_CNI_CLIENT_ID"], env["AZURE_TENANT_ID"]) == (GUID, GUID)
    token_file = env["AZURE_FEDERATED_TOKEN_FILE"] or ""
    assert token_file.startswith(mounts(WORKLOAD)["azure-token"]["mountPath"] + "/")
    assert agent_env().keys().isdisjoint({"AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"})


def test_a_ca_bundle_is_mounted_where_the_agent_looks():
    values = ("azure.caBundle.configMap=authorities", "azure.caBundle.key=root.pem")
    assert agent_env(*values)["AZURE_CNI_CA_FILE"] == mounts(*values)["ca"]["mountPath"] + "/root.pem"


@pytest.mark.parametrize(("process", "path"), [("agent", ""), ("controller", "controller.")])
def test_a_foreign_service_account_is_bound_and_not_made(process: str, path: str):
    values = (f"{path}serviceAccount.create=false", f"{path}serviceAccount.name=theirs")
    accounts = {manifest["metadata"]["name"] for manifest in render(*values) if manifest["kind"] == "ServiceAccount"}
    expected = {"azure-cni-agent", "azure-cni-controller", "azure-cni-test-network"}
    assert accounts == expected - {f"azure-cni-{process}"}
    binding = of_kind("ClusterRoleBinding", *values, name=f"azure-cni-{process}")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "theirs", "namespace": "kube-system"}]


def test_the_version_is_the_same_everywhere():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (image,) = re.findall(r"^ARG VERSION=(.+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert {chart["version"], chart["appVersion"], project["version"], image} == {__version__}
    assert container()["image"] == f"azure-cni/azure-cni:{__version__}"


def test_an_image_by_digest_has_no_tag():
    digest = f"sha256:{'0123456789abcdef' * 4}"
    values = (f"image.digest={digest}", "image.tag=latest", "image.repository=registry.example/azure-cni")
    assert {pod["spec"]["containers"][0]["image"] for pod in (agent_pod(*values), controller_pod(*values))} == {
        f"registry.example/azure-cni@{digest}"
    }


def test_the_icon_is_the_picture_in_the_documentation():
    kind, _, picture = yaml.safe_load((CHART / "Chart.yaml").read_text())["icon"].partition(",")
    assert kind == "data:image/svg+xml"
    assert unquote(picture) == (REPOSITORY / "docs" / "icon.svg").read_text().strip()


def test_helm_lint_has_nothing_to_say():
    done = subprocess.run([helm(), "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "[INFO]" not in done.stdout, done.stdout
