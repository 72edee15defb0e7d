"""Which values the chart refuses, and with which words."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from unit.chart.helm import METRICS, POD_SUBNET, WORKLOAD, Refused, agent_env, controller_env, template


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("pool.max=300", "at '/pool/max': maximum: got 300, want 250"),
        ("pool.max=0", "at '/pool/max': minimum: got 0, want 1"),
        ("pool.size=251", "at '/pool/size': maximum: got 251, want 250"),
        ("pool.minFree=-1", "at '/pool/minFree': minimum: got -1, want 0"),
        ("pool.minFree=1.5", "at '/pool/minFree'"),
        ("pool.batch=many", "at '/pool/batch': got string, want integer"),
        ("pool.minfree=4", "additional properties 'minfree' not allowed"),
        ("pools.minFree=4", "additional properties 'pools' not allowed"),
        ("pool.maxFree=20", "pool.maxFree is 20 but must be at least pool.minFree + pool.batch = 24"),
        ("pool.blocks=27", "at '/pool/blocks': value must be one of 0, 28"),
        ("pool.blocks=28,pool.batch=8", "pool.batch is 8 but must be a multiple of 16 with pool.blocks"),
        ("pool.blocks=28,pool.size=20", "pool.size is 20 but must be a multiple of 16 with pool.blocks"),
        ("pool.blocks=28,pool.max=12", "pool.max is 12 but must be at least 16 with pool.blocks"),
        ("pool.size=20,pool.max=10", "pool.size is 20 but cannot be more than pool.max, which is 10"),
        (
            "azure.nic=observe",
            "azure.nic is observe, and is no value any more: nicWriter=none replaces azure.nic=observe",
        ),
        ("azure.nic=manage,nicWriter=none", "leave azure.nic out"),
        ("azure.adopt=all", "value must be one of 'plain', 'none'"),
        ("docker.enabled=true,mode=bridge", "docker.enabled needs mode transparent: it is bridge"),
        ("linkNames=calico,mode=bridge", "linkNames is calico, which needs mode transparent: it is bridge"),
        ("cni.extraPlugins[0].type=portmap", "cni.extraPlugins: portmap is chained already"),
        ("cni.extraPlugins[0].type=tuning,cni.extraPlugins[1].type=tuning", "tuning is chained already"),
        ("cni.extraPlugins[0].type=azure-cni", "azure-cni is chained already"),
        ("cni.extraPlugins[0].type=ptp", "ptp cannot follow azure-cni"),
        ("cni.extraPlugins[0].type=host-local", "host-local cannot follow azure-cni"),
        ("cni.extraPlugins[0].type=multus", "multus would call azure-cni again"),
        ("cni.extraPlugins[0].type=tuning,cni.extraPlugins[0].ipam.type=x", "leave ipam out of tuning"),
        ("cni.extraPlugins[0].type=../x", "at '/cni/extraPlugins/0/type'"),
        ("cni.extraPlugins[0].mtu=9", "at '/cni/extraPlugins/0': missing property 'type'"),
        ("linkNames=cali", "value must be one of 'hash', 'calico'"),
        ("docker.enabled=1", "at '/docker/enabled'"),
        ("windows.enabled=yes", "at '/windows/enabled'"),
        ("windows.binDir=/opt/cni/bin", "at '/windows/binDir'"),
        ("windows.confDir=C:/k/netconf", "at '/windows/confDir'"),
        ("windows.image.pullPolicy=Never", "additional properties 'pullPolicy' not allowed"),
        ("docker.engineSocket=/run/docker-api/docker.sock", "which needs docker.enabled"),
        ("docker.enabled=true,docker.engineSocket=docker.sock", "at '/docker/engineSocket'"),
        ("docker.enabled=true,docker.engineSocket=/run/docker.sock", "and others use /run; have Docker listen in one"),
        ("docker.enabled=true,docker.engineSocket=/var/run/docker.sock", "and others use /var/run;"),
        ("docker.enabled=true,docker.engineSocket=/docker.sock", "and others use /;"),
        ("docker.enabled=true,docker.engineSocket=/run/docker/docker.sock", "and others use /run/docker;"),
        ("docker.enabled=true,docker.engineSocket=/run/azure-cni/x/d.sock", "and others use /run/azure-cni/x;"),
        ("docker.enabled=true,docker.engineSocket=/run/api/../docker.sock", "write it without dots: /run/docker.sock"),
        ("azure.adopt=none,nicWriter=none", "nicWriter is none and azure.adopt is none"),
        ("azure.identity=workload", "azure.identity is workload, which needs azure.clientID and azure.tenantID"),
        ("azure.clientID=me", "at '/azure/clientID'"),
        ("azure.resourceManagerEndpoint=http://arm", "at '/azure/resourceManagerEndpoint'"),
        ("azure.cloud=Azure", "at '/azure/cloud'"),
        ("routablePrefixes={192.168.0.0}", 'routablePrefixes: "192.168.0.0" is not an IPv4 prefix'),
        ("routablePrefixes={10.0.0.0/33}", 'routablePrefixes: "10.0.0.0/33" is not an IPv4 prefix'),
        ("routablePrefixes={300.0.0.0/8}", 'routablePrefixes: "300.0.0.0/8" is not an IPv4 prefix'),
        ("podNetworking.egress.namespaces={Shop}", "podNetworking"),
        ("routablePrefixes={fd00::/8}", 'routablePrefixes: "fd00::/8" is not an IPv4 prefix'),
        ("routablePrefixes={10.0.0.1/16}", 'routablePrefixes: "10.0.0.1/16" is an address in a prefix'),
        ("routablePrefixes={010.0.0.0/8}", 'routablePrefixes: "010.0.0.0/8" is not an IPv4 prefix'),
        ("windows.services.prefixes={fd00::/108}", 'windows.services.prefixes: "fd00::/108" is not an IPv4 prefix'),
        ("windows.services.prefixes={10.0.0.8/28}", "write the prefix, whose bits beyond /28 are 0"),
        ("mode=tunnel", "value must be one of 'transparent', 'bridge'"),
        ("cni.confName=10-azure.conf", "at '/cni/confName'"),
        ("cni.binDir=bin", "at '/cni/binDir'"),
        ("agent.logLevel=loud", "value must be one of 'debug', 'info', 'warning', 'error'"),
        ("agent.coolingSeconds=-5", "at '/agent/coolingSeconds'"),
        ("metrics.port=70000", "at '/metrics/port'"),
        ("image.digest=latest", "at '/image/digest'"),
        ("metrics.bind=world", "value must be one of 'node', 'loopback', 'none'"),
        ("metrics.serviceMonitor.enabled=true,metrics.bind=none", "needs metrics.bind node: it is none"),
        ("metrics.prometheusRule.enabled=true,metrics.bind=none", "AzureCNIAway and AzureCNINoLeader always fire"),
        ("metrics.prometheusRule.runbooks=docs.example.com", "at '/metrics/prometheusRule/runbooks'"),
        ("metrics.prometheusRule.severities.page=critical", "additional properties 'page' not allowed"),
        ("metrics.dashboard.enabled=true,metrics.bind=none", "there are no metrics that it could show"),
        ("serviceAccount.create=false", "serviceAccount.name is needed when serviceAccount.create is false"),
        (
            "controller.serviceAccount.create=false",
            "controller.serviceAccount.name is needed when controller.serviceAccount.create is false",
        ),
        (
            "controller.serviceAccount.name=azure-cni-agent",
            "serviceAccount.name and controller.serviceAccount.name are both azure-cni-agent",
        ),
        ("nicWriter=node", "value must be one of 'agent', 'controller', 'none'"),
        ("nicWriter=controller,controller.enabled=false", "nicWriter is controller, which needs controller.enabled"),
        ("nicWriter=none", "nicWriter is none, and then a controller has nothing to grant"),
        ("pool.subnets[0].subnet=pods", "at '/pool/subnets/0/subnet'"),
        (f"pool.subnets[0].subnet={POD_SUBNET},nicWriter=none", "nicWriter is none and pool.subnets is set"),
        (f"pool.subnets[0].subnet={POD_SUBNET},pool.subnets[0].labels.a=b", "additional properties 'labels'"),
        ("nicWriter=none,controller.enabled=false", "list them in routablePrefixes"),
        ("ipFamilies={IPv6}", "at '/ipFamilies'"),
        ("nicWriter=none,ipFamilies={IPv4,IPv6}", "nobody would add IPv6 addresses to the NIC"),
        ("windows.enabled=true,ipFamilies={IPv4,IPv6}", "pods on Windows get IPv4 alone"),
        (f"pool.subnets[0].subnet={POD_SUBNET},ipFamilies={{IPv4,IPv6}}", "a subnet of their own get IPv4 alone"),
        ("docker.enabled=true,ipFamilies={IPv4,IPv6}", "Docker's containers get IPv4 alone"),
        ("cni.confDir=/opt/cni/bin", "cni.binDir is /opt/cni/bin, which is in /opt/cni/bin (cni.confDir)"),
        ("cni.confDir=/opt/cni/bin/net.d", "cni.confDir is /opt/cni/bin/net.d, which is in /opt/cni/bin (cni.binDir)"),
        ("cni.binDir=/etc/cni/net.d/bin", "cni.binDir is /etc/cni/net.d/bin, which is in /etc/cni/net.d (cni.confDir)"),
        ("cni.binDir=/run/azure-cni", "which is in /run/azure-cni (the agent's own directory)"),
        ("cni.confDir=/run/azure-cni/net.d", "which is in /run/azure-cni (the agent's own directory)"),
        ("cni.confDir=/opt/cni/../cni/bin", "write it without dots: /opt/cni/bin"),
        ("agent.extraEnv[0].name=AZURE_CNI_POOL_MAX", "agent.extraEnv: AZURE_CNI_POOL_MAX is one of the chart's own"),
        ("controller.extraEnv[0].name=AZURE_CNI_LOG_LEVEL", "controller.extraEnv: AZURE_CNI_LOG_LEVEL is one of the"),
        ("agent.extraEnv[0].name=AZURE_TENANT_ID", "agent.extraEnv: AZURE_TENANT_ID is one of the chart's own"),
        ("agent.extraEnv[0].name=A,agent.extraEnv[1].name=A", "agent.extraEnv: A is there twice"),
        ("controller.replicas=-1", "at '/controller/replicas': minimum: got -1, want 0"),
        ("controller.metricsPort=9810", "controller.metricsPort is 9810, and so is metrics.port"),
        ("quota.limit=70000", "at '/quota/limit': maximum: got 70,000, want 65,536"),
        ("quota.perNodeLimit=251", "at '/quota/perNodeLimit': maximum: got 251, want 250"),
        ("quota.writesPerMinute=0", "at '/quota/writesPerMinute': minimum: got 0, want 1"),
        ("quota.writesPerMinute=20000", "at '/quota/writesPerMinute': maximum: got 20,000, want 10,000"),
        ("quota.limit=10,quota.reserved=11", "quota.reserved is 11 but cannot be more than quota.limit, which is 10"),
        ("agent.securityContext=privileged", "at '/agent/securityContext': got string, want object"),
        ("controller=null", "missing property 'controller'"),  # what an older version's reused values look like
        # A key with nothing behind it.
        ("scaleSets=null", "missing property 'scaleSets'"),
        ("azure.caBundle=null", "at '/azure': missing property 'caBundle'"),
        ("azure.attestation=null", "at '/azure': missing property 'attestation'"),
        ("agent.securityContext=null", "at '/agent': missing property 'securityContext'"),
        ("agent.podSecurityContext=null", "at '/agent': missing property 'podSecurityContext'"),
        ("controller.securityContext=null", "at '/controller': missing property 'securityContext'"),
        ("controller.podSecurityContext=null", "at '/controller': missing property 'podSecurityContext'"),
        ("metrics.serviceMonitor=null", "at '/metrics': missing property 'serviceMonitor'"),
        ("metrics.prometheusRule=null", "at '/metrics': missing property 'prometheusRule'"),
        ("metrics.dashboard=null", "at '/metrics': missing property 'dashboard'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place_and_the_rule(value: str, said: str):
    with pytest.raises(Refused, match=re.escape(said)):
        template(value)


A_POOL = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/lb/backendAddressPools/pool"


def allowed(count: int) -> dict[str, Any]:
    pools = [f"{A_POOL}{number:05}" for number in range(count)]
    return {"podNetworking": {"allowed": [{"namespaces": ["shop"], "loadBalancerPools": pools}]}}


def egress(count: int) -> dict[str, Any]:
    return {"podNetworking": {"egress": {"namespaces": [f"{'n' * 58}{number:05}" for number in range(count)]}}}


def prefixes(count: int) -> dict[str, Any]:
    return {"routablePrefixes": [f"200.100.{100 + number // 100}.{100 + number % 100}/32" for number in range(count)]}


def subnets(count: int) -> dict[str, Any]:
    return {"pool": {"subnets": [{"subnet": f"{POD_SUBNET}{number:05}"} for number in range(count)]}}


@pytest.mark.parametrize(
    ("values", "most", "said"),
    [
        (allowed, 1_100, "podNetworking.allowed has "),
        (egress, 2_000, "podNetworking.egress.namespaces has "),
        (prefixes, 6_800, "routablePrefixes has "),
        (subnets, 1_100, "pool.subnets has "),
    ],
)
def test_a_list_with_which_linux_would_start_no_process_is_refused(
    values: Callable[[int], dict[str, Any]], most: int, said: str
):
    """Linux takes 128 KiB of one variable, its name and the end included (MAX_ARG_STRLEN)."""
    (container,) = next(
        it["spec"]["template"]["spec"]["containers"]
        for it in yaml.safe_load_all(template(file=json.dumps(values(most))))
        if it and it["kind"] == "DaemonSet"
    )
    longest = max(len(f"{it['name']}={it.get('value', '')}".encode()) + 1 for it in container["env"])
    assert 100_000 < longest <= 128 * 1024
    with pytest.raises(Refused, match=rf"{said}\d+ characters as agents are given it"):
        template(file=json.dumps(values(most * 4 // 3)))


def test_a_list_with_which_windows_would_start_no_process_is_refused_where_it_has_nodes():
    """Windows takes 32,767 characters of one variable (Microsoft documentation, "Environment Variables")."""
    assert "kind: DaemonSet" in template("windows.enabled=true", file=json.dumps(prefixes(1_600)))
    assert "kind: DaemonSet" in template(file=json.dumps(prefixes(1_900)))
    with pytest.raises(Refused, match=r"routablePrefixes has .* Windows starts no process with more than 32000"):
        template("windows.enabled=true", file=json.dumps(prefixes(1_900)))


@pytest.mark.parametrize(
    ("name", "set_to"),
    [
        ("metrics.port", "metrics.port="),
        ("controller.metricsPort", "controller.metricsPort="),
        ("networkPolicy.metricsBindAddress", "networkPolicy.enabled=true,networkPolicy.metricsBindAddress=127.0.0.1:"),
    ],
)
@pytest.mark.parametrize("port", [22, 179, 2379, 2380, 6443, 10248, 10249, 10250, 10255, 10256, 10257, 10258, 10259])
def test_a_port_that_a_node_uses_already_is_refused(name: str, set_to: str, port: int):
    with pytest.raises(Refused, match=f"{name} is {port}, the port of "):
        template(f"{set_to}{port}")


def test_every_variable_of_the_chart_is_refused_as_an_extra_one():
    ours = agent_env(WORKLOAD, *METRICS) | controller_env(WORKLOAD, *METRICS)
    for name in (*ours, "Azure_Cni_Mode"):
        with pytest.raises(Refused, match="chart's own variables"):
            template(f"agent.extraEnv[0].name={name}")


def test_every_mistake_is_reported_at_once():
    with pytest.raises(Refused) as refused:
        template("pool.max=300", "agent.logLevel=loud")
    assert "/pool/max" in str(refused.value)
    assert "/agent/logLevel" in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "routablePrefixes={0.0.0.0/0,192.168.50.0/24,10.1.2.3/32}",
        "pool.size=250",
        "pool.size=32,pool.minFree=250",  # a fixed size takes the place of the others
        "pool.minFree=0,pool.batch=1,pool.maxFree=1",
        WORKLOAD,
        "azure.resourceManagerEndpoint=https://198.51.100.1",
        "nicWriter=controller",
        "controller.replicas=0",
        "metrics.bind=loopback,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true",
        "controller.enabled=false,controller.metricsPort=9810",
        "nicWriter=none,controller.enabled=false,routablePrefixes={10.240.0.0/16}",
        "cni.binDir=/usr/lib/cni,cni.confDir=/usr/lib/cni-conf",
        "agent.extraEnv[0].name=NO_PROXY,controller.extraEnv[0].name=NO_PROXY",
        "azure.adopt=none",
        "ipFamilies={IPv4,IPv6}",
        "azure.cloud=AzureUSGovernmentCloud",
        "agent.extraEnv[0].name=HTTPS_PROXY,agent.extraEnv[0].value=http://proxy:3128",
    ],
)
def test_a_right_value_is_accepted(value: str):
    assert "kind: DaemonSet" in template(value)


def test_a_cluster_that_is_too_old_is_refused():
    with pytest.raises(Refused, match=r"chart requires kubeVersion: >= 1\.30"):
        template(kube_version="1.29.0")
