"""What people write: settings, manifests, annotations, and the notes of whoever pauses a pool."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Final

import pytest

from azure_cni.api.egress import EGRESS, EgressNamespaces, choose
from azure_cni.api.pod_annotations import LOAD_BALANCER_POOLS, PUBLIC_IP, read_annotations
from azure_cni.api.reading import text
from azure_cni.azure import attestation
from azure_cni.commands.located_yaml import merged_values, parse_located
from azure_cni.diagnose import pauses
from azure_cni.diagnose.manifest_rules import is_ours, manifest_faults
from azure_cni.entrypoints import controller_settings, docker_settings, settings
from azure_cni.entrypoints.environment_values import PREFIX
from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import legible
from property.mutations import mutated
from property.odd_bytes import TOKENS, Boundary, walk

REPOSITORY: Final = Path(__file__).parents[2]
GROUP: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
LB_POOLS: Final = f"{GROUP}/loadBalancers/lb/backendAddressPools"
ANNOTATIONS: Final = {
    LOAD_BALANCER_POOLS: f"{LB_POOLS}/one, {LB_POOLS}/two",
    PUBLIC_IP: f"{GROUP}/publicIPAddresses/ip",
    EGRESS: "pod",
}
ALLOWED: Final = [{"namespaces": ["a"], "loadBalancerPools": [f"{LB_POOLS}/one"]}]
ENVIRONMENT: Final = {
    "NODE_NAME": "vm1", "POD_NAME": "p", "NAMESPACE": "kube-system", "GRANTS": "controller", "NIC_WRITER": "agent",
    "POOL_SIZE": "0", "POOL_MIN_FREE": "8", "POOL_MAX_FREE": "24", "POOL_BATCH": "16", "POOL_MAX": "250",
    "CLOUD": "AzurePublicCloud", "IDENTITY": "managed", "ADOPT": "plain", "METRICS_BIND": "node",
    "METRICS_TLS": "true", "METRICS_AUTH": "token", "HOST_IP": "10.0.0.4", "METRICS_PORT": "9810", "COOLING_S": "30",
    "RESYNC_S": "600", "SHRINK_DELAY_S": "300", "ROUTABLE_PREFIXES": "10.0.0.0/8,192.168.0.0/16",
    "EGRESS_NAMESPACES": "a, b", "POD_NETWORKING_ALLOWED": json.dumps(ALLOWED), "AUDIT_DIR": "/var/lib/a",
    "AUDIT_MIB": "64", "AUDIT_DAYS": "30", "DOCKER_SOCKET": "/run/docker/plugins/azure-cni.sock",
    "MODE": "transparent", "LOG_LEVEL": "info", "LOG_FORMAT": "json", "QUOTA_LIMIT": "1000", "QUOTA_PER_NODE": "250",
    "QUOTA_WRITES_PER_MINUTE": "100", "QUOTA_RESERVED": "0", "RECLAIM_S": "300", "USAGES_S": "60",
    "ATTESTATION": "auto", "LEASE_NAME": "l", "ALLOW_IMDS": "false", "CHAIN_PORTMAP": "true", "SPEC_VERSION": "1.0.0",
    "CHAIN_BANDWIDTH": "true", "LINK_NAMES": "calico", "EXTRA_PLUGINS": '[{"type": "x", "capabilities": {"a": true}}]',
}  # fmt: skip
TOML: Final = (REPOSITORY / "operator" / "debian_package" / "files" / "docker.toml").read_bytes()
VALUES: Final = (REPOSITORY / "charts" / "azure-cni" / "values.yaml").read_bytes()
MANIFEST: Final = b"""\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  template:
    metadata:
      annotations: &a
        azure-cni.io/egress: pod
        azure-cni.io/public-ip: /subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/ip
    spec:
      readinessGates: [{conditionType: azure-cni.io/load-balancer-attached}]
---
apiVersion: azure-cni.io/v1alpha1
kind: NodeIPPool
metadata: {name: vm1, annotations: {<<: *a}}
spec: {minFree: 8, maxFree: 24, batch: 16, paused: true}
"""
PEM: Final = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PAUSED: Final = {
    "metadata": {
        "name": "vm1",
        "annotations": {pauses.PAUSE: '{"by":"me","reason":"because"}'},
        "managedFields": [
            {"manager": pauses.PAUSE_WRITER, "time": "2026-11-29T12:00:00Z", "fieldsV1": {"f:spec": {"f:paused": {}}}}
        ],
    },
    "spec": {"paused": True},
}


def environment(content: bytes, random: Random) -> None:
    """Of an agent and of a controller: they start, or say what is wrong."""
    found = json.loads(content)
    variables = found if isinstance(found, dict) and found else dict(ENVIRONMENT)
    name = random.choice(list(variables))
    if random.random() < 0.5:
        variables[name] = random.choice(TOKENS)
    elif name == "POD_NETWORKING_ALLOWED":
        variables[name] = json.dumps(mutated(ALLOWED, random))
    given = {PREFIX + key: str(value).replace("\0", "") for key, value in variables.items()}
    random.choice((settings.read, controller_settings.read))(given)


def toml(content: bytes, _: Random) -> None:
    """All faults of a file, each on a line of its own."""
    try:
        docker_settings.read(content.decode(errors="replace"))
    except ConfigInvalid as error:
        raise ConfigInvalid(str(error).replace("\n", " ")) from error


def manifests(content: bytes, _: Random) -> None:
    """As `check -f` reads files."""
    for document in parse_located(content.decode(errors="replace")):
        value = document.value
        assert all(message for _, message in document.faults)
        if isinstance(value, dict):
            is_ours(value)
            assert all(message for _, message in manifest_faults(value, {}))
            merged_values({"pool": {"minFree": 8}}, value)


def annotations(content: bytes, _: Random) -> None:
    """Of a pod: what cannot be used is said, on one line."""
    found = json.loads(content)
    asked = read_annotations(found if isinstance(found, dict) else {})
    assert all(fault == legible(fault, 2000) for fault in asked.faults)
    egress = text(found.get(EGRESS)) if isinstance(found, dict) else ""
    said = choose(pod=egress, namespace="", name="a", allowed=EgressNamespaces.of(["a"])).message
    assert said == legible(said, 2000)


def pause(content: bytes, _: Random) -> None:
    found = json.loads(content)
    pauses.parse_pause(found if isinstance(found, dict) else {})


def bundle(content: bytes, _: Random) -> None:
    """Whom to trust for attested documents, from the administrator; in words as `Attestations` has them."""
    try:
        attestation.trust_in(content, usual=content, cloud="AzurePublicCloud")
    except ValueError as error:
        raise ValueError(legible(str(error))) from error


BOUNDARIES: Final = {
    "environment": Boundary([json.dumps(ENVIRONMENT).encode()], environment, (ConfigInvalid,), on_the_wire=False),
    "docker-toml": Boundary([TOML], toml, (ConfigInvalid,), is_json=False),
    "manifests": Boundary([MANIFEST, VALUES], manifests, (), is_json=False),
    "annotations": Boundary([json.dumps(ANNOTATIONS).encode()], annotations, (), on_the_wire=False),
    "pauses": Boundary([json.dumps(PAUSED).encode()], pause, (), on_the_wire=False),
    "authorities": Boundary([PEM], bundle, (ValueError,), is_json=False),
}
COUNTS: Final = {"manifests": 200, "docker-toml": 1500, "environment": 4000, "pauses": 4000}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_what_is_odd_is_read_or_refused_in_words(name: str) -> None:
    count = COUNTS.get(name, 6000)
    ends = walk(name, BOUNDARIES[name], count, seed=1)
    assert ends.total() == count
