"""Agents on Windows nodes: off unless wanted, and then with the settings that a Windows agent reads."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Any

import pytest

from azure_cni import __version__
from azure_cni.cni.systems import WINDOWS
from azure_cni.commands.reads import ON_WINDOWS
from azure_cni.datapath.leaving import Services
from azure_cni.entrypoints import settings
from azure_cni.entrypoints.environment_values import PREFIX
from unit.chart.helm import WORKLOAD, Asked, agent_env, of_kind, render, template

ON = "windows.enabled=true"
NAME = "azure-cni-agent-windows"
CERTIFICATES = ("metrics.tls.enabled=true", "metrics.tls.secretName=cert", "azure.caBundle.configMap=ca")
FACTS = {"AZURE_CNI_NODE_NAME": "win1", "AZURE_CNI_HOST_IP": "10.240.0.4"}
MOUNT_POINT = "%CONTAINER_SANDBOX_MOUNT_POINT%"


def daemonset(*values: str) -> dict[str, Any]:
    return of_kind("DaemonSet", ON, *values, name=NAME)


def pod(*values: str) -> dict[str, Any]:
    found: dict[str, Any] = daemonset(*values)["spec"]["template"]["spec"]
    return found


def container(*values: str) -> dict[str, Any]:
    (found,) = pod(*values)["containers"]
    return dict(found)


def env(*values: str) -> dict[str, str | None]:
    return {variable["name"]: variable.get("value") for variable in container(*values)["env"]}


def test_nothing_of_it_is_there_unless_it_is_wanted():
    assert [one["metadata"]["name"] for one in render() if one["kind"] == "DaemonSet"] == ["azure-cni-agent"]
    others = [one for one in render(ON) if one["metadata"]["name"] != NAME]
    assert others == render()


def test_values_of_a_release_that_knew_no_windows_nodes_still_do():
    assert "kind: DaemonSet" in template("windows=null")


def test_each_agent_runs_on_the_nodes_of_its_own_system():
    assert pod()["nodeSelector"] == {"kubernetes.io/os": "windows"}
    assert of_kind("DaemonSet", name="azure-cni-agent")["spec"]["template"]["spec"]["nodeSelector"] == {
        "kubernetes.io/os": "linux"
    }


@pytest.mark.parametrize("system", ["windows", "linux"])
def test_a_selector_that_names_the_system_too_has_each_key_once(system: str):
    """A key that is there twice is refused by tools that read strictly, as Kustomize."""
    where = ("windows", "agent", "controller", "networkPolicy")
    named = ",".join(f"{one}.nodeSelector.kubernetes\\.io/os={system},{one}.nodeSelector.pool=a" for one in where)
    text = template(ON, named, "networkPolicy.enabled=true")
    selectors = re.findall(r"^( +)nodeSelector:\n((?:\1  .*\n)+)", text, flags=re.MULTILINE)
    found = [sorted(line.split(":")[0].strip() for line in lines.splitlines()) for _, lines in selectors]
    assert found.count(["kubernetes.io/os", "pool"]) == len(where)
    assert pod(named)["nodeSelector"] == {"kubernetes.io/os": "windows", "pool": "a"}


def test_the_pods_are_found_as_agents_and_told_from_those_on_linux():
    linux, windows = (of_kind("DaemonSet", ON, name=name)["spec"] for name in ("azure-cni-agent", NAME))
    own = {"azure-cni.io/system": "windows"}
    assert windows["selector"]["matchLabels"] == linux["selector"]["matchLabels"] | own
    assert windows["template"]["metadata"]["labels"] == linux["template"]["metadata"]["labels"] | own
    assert windows["template"]["spec"]["serviceAccountName"] == linux["template"]["spec"]["serviceAccountName"]


@pytest.mark.parametrize(
    "values", [(), ("pool.size=32",), (WORKLOAD,), CERTIFICATES, ("nicWriter=controller",)], ids=str
)
def test_a_windows_agent_starts_with_every_variable_that_the_chart_sets_and_reads_it(values: tuple[str, ...]):
    found = env(*values)
    environ = Asked({name: FACTS[name] if value is None else value for name, value in found.items()})
    chosen = settings.read(environ, system=WINDOWS)
    assert {name for name in environ if name.startswith(PREFIX)} <= environ.names
    assert str(chosen.host.run_dir) == WINDOWS.run_dir


def test_the_settings_of_the_node_and_of_azure_are_those_of_the_agents_on_linux():
    values = ("routablePrefixes={10.9.0.0/16}", "imds.allowPods=true", "agent.coolingSeconds=7", WORKLOAD)
    linux, windows = agent_env(*values), env(*values)
    assert linux.keys() - windows.keys() == {
        "AZURE_CNI_LINK_NAMES", "AZURE_CNI_CHAIN_PORTMAP", "AZURE_CNI_CHAIN_BANDWIDTH", "AZURE_CNI_RUN_DIR",
        "AZURE_CNI_AUDIT_DIR", "AZURE_CNI_AUDIT_MIB", "AZURE_CNI_AUDIT_DAYS", "AZURE_CNI_SYSCTL_DIR",
        "AZURE_CNI_PROCESS_DIR",
    }  # fmt: skip
    assert {name for name in linux.keys() & windows.keys() if linux[name] != windows[name]} == {
        "AZURE_CNI_BIN_DIR",
        "AZURE_CNI_CONF_DIR",
    }


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((), Services()),
        (
            ("windows.services.prefixes={10.0.0.0/16,10.9.0.0/24}", "windows.services.dsr=false"),
            Services(frozenset(map(IPv4Network, ("10.0.0.0/16", "10.9.0.0/24"))), dsr=False),
        ),
    ],
)
def test_an_agent_knows_where_services_are(values: tuple[str, ...], wanted: Services):
    environ = {name: FACTS[name] if value is None else value for name, value in env(*values).items()}
    assert settings.read(environ, system=WINDOWS).host.services == wanted


def test_what_only_linux_has_does_not_reach_a_windows_agent():
    """It would not start with it."""
    on = ("mode=bridge", "cni.chainBandwidth=true", "cni.extraPlugins[0].type=tuning")
    assert env(*on)["AZURE_CNI_MODE"] == "transparent"
    assert not {"AZURE_CNI_CHAIN_BANDWIDTH", "AZURE_CNI_EXTRA_PLUGINS"} & env(*on).keys()
    assert "AZURE_CNI_DOCKER_SOCKET" not in env("docker.enabled=true")


def test_the_program_and_the_binary_are_those_of_the_image():
    """Files of a HostProcess image lie under this directory (hcsshim, job containers)."""
    assert container()["command"] == [rf"{MOUNT_POINT}\azure-cni\python.exe", "-m", "azure_cni", "agent"]
    assert container()["command"] == [*ON_WINDOWS, "agent"], "what asks it in its container is the same program"
    assert env()["AZURE_CNI_PLUGIN"] == rf"{MOUNT_POINT}\azure-cni\azure-cni.exe"
    assert WINDOWS.plugin == r"C:\hpc\azure-cni\azure-cni.exe"
    assert container()["image"] == f"azure-cni/azure-cni-windows:{__version__}"
    digest = "sha256:" + "0" * 64
    assert container(f"windows.image.digest={digest}")["image"] == f"azure-cni/azure-cni-windows@{digest}"


def test_probes_and_scrapes_are_as_on_linux():
    (linux,) = of_kind("DaemonSet")["spec"]["template"]["spec"]["containers"]
    for part in ("livenessProbe", "readinessProbe", "ports"):
        assert container()[part] == linux[part]
    assert daemonset("metrics.port=9900")["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == "9900"


@pytest.mark.parametrize("values", [(), (WORKLOAD, *CERTIFICATES), ("nicWriter=controller", *CERTIFICATES)], ids=str)
def test_each_volume_is_mounted_and_each_mount_has_its_volume(values: tuple[str, ...]):
    names = [volume["name"] for volume in pod(*values).get("volumes", [])]
    assert names == [mount["name"] for mount in container(*values).get("volumeMounts", [])]
    assert ("metrics-tls" in names) == bool(values)
    assert ("ca" in names) == (WORKLOAD in values)
