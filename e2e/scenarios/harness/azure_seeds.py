"""Mistakes in Azure that only Azure knows, and a person's login to ask it; as in `seeds`."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from azure_cni.commands.azure_access import ENDPOINT
from azure_cni.diagnose.outbound_checks import GATEWAY
from azurebox.client import Box
from azurebox.fabric.topology import ARM
from azurebox.facts import AZURE_CA
from fakeazure.subscription import SUBSCRIPTION, TENANT
from scenarios.harness.balancing import await_written, load_balancer, public_ip
from scenarios.harness.stage import Stage, come_to_rest
from scenarios.harness.vnet import SUBNET, deny, security_group

PERSON = "seeded-person"


@contextmanager
def a_login_of_azure(box: Box, directory: Path) -> Iterator[None]:
    """A person's, in the environment: an identity that may do all that the commands need."""
    made = box.azure("PUT", f"/identities/{PERSON}")
    scope = f"/subscriptions/{SUBSCRIPTION}"
    box.azure("POST", "/assignments", {"principal": made["principalId"], "actions": ["*"], "scope": scope})
    token, claims = directory / "token", base64.urlsafe_b64encode(json.dumps({"sub": PERSON}).encode())
    token.write_text(f"e30.{claims.decode().rstrip('=')}.e30")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            ENDPOINT: f"https://{ARM}",
            "REQUESTS_CA_BUNDLE": str(AZURE_CA),
            "AZURE_AUTHORITY_HOST": f"https://{ARM}",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": made["clientId"],
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
        }.items():
            environment.setenv(name, value)
        yield
    box.azure("DELETE", f"/identities/{PERSON}")


@contextmanager
def a_security_group_that_shuts_pods_off(stage: Stage) -> Iterator[None]:
    closed = deny("no-vnet", 300, "Inbound", sourceAddressPrefix="VirtualNetwork")
    with security_group(stage.box, "seeded", [closed], nics=[stage.node.nic_name]):
        yield


@contextmanager
def a_load_balancer_that_takes_the_way_out(stage: Stage) -> Iterator[None]:
    """An internal one: nothing leaves by it, and default outbound access ends."""
    with load_balancer(stage.box, "seeded", subnet=SUBNET, port=80):
        _join(stage, "seeded", "pods")
        try:
            yield
        finally:
            if any(one["name"] == GATEWAY for one in stage.box.azure("GET", "/nat-gateways")):
                stage.box.azure("DELETE", f"/nat-gateways/{GATEWAY}")
    await_written(stage.box)
    come_to_rest(stage)


@contextmanager
def a_cloud_controller_that_writes_nics(stage: Stage) -> Iterator[None]:
    """It puts primary ipConfigurations into the pool of a Service's rule, which is also their way out."""
    with public_ip(stage.box, "seeded"), load_balancer(stage.box, "kubernetes", public_ip="seeded", pool="kubernetes"):
        document = stage.box.azure("GET", "/load-balancers/kubernetes")
        rule = document["properties"]["loadBalancingRules"][0]
        rule["name"] = f"a{'0' * 31}-TCP-80"
        rule["properties"]["disableOutboundSnat"] = False
        stage.box.azure("PUT", "/load-balancers/kubernetes", {"document": document})
        _join(stage, "kubernetes", "kubernetes")
        yield
    await_written(stage.box)
    come_to_rest(stage)


def _join(stage: Stage, balancer: str, pool: str) -> None:
    """The first node's primary ipConfiguration."""
    body = {"addresses": [str(stage.node.primary())], "pool": pool}
    stage.box.azure("POST", f"/load-balancers/{balancer}/join", body)
    await_written(stage.box)
