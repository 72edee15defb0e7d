"""A Uniform scale set of the run's own with one small instance, and writes of that instance's network."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onazure.arm import COMPUTE, NETWORK, Answer, Outcome
from onazure.errors import NotAnsweredError
from onazure.lab import Lab
from onazure.machine import IMAGE

NAME: Final = "set"
NIC: Final = "set-nic"
PRIMARY: Final = "ipconfig1"


@dataclass(slots=True)
class ScaleSet:
    """`instance` is the path of its only instance, once there is one."""

    lab: Lab
    size: str
    instance: str = ""

    @property
    def path(self) -> str:
        return self.lab.path("Microsoft.Compute/virtualMachineScaleSets", NAME)

    @property
    def nic(self) -> str:
        return f"{self.instance}/networkInterfaces/{NIC}"

    def make(self) -> None:
        """The set and its instance; NotAnsweredError."""
        subnet = {"id": f"{self.lab.vnet}/subnets/nodes"}
        config = {"name": PRIMARY, "properties": {"subnet": subnet, "primary": True}}
        nic = {"name": NIC, "properties": {"primary": True, "ipConfigurations": [config]}}
        password = f"Aa1!{secrets.token_urlsafe(24)}"
        profile = {
            "storageProfile": {
                "imageReference": IMAGE,
                "osDisk": {"createOption": "FromImage", "managedDisk": {"storageAccountType": "Standard_LRS"}},
            },
            "osProfile": {"computerNamePrefix": NAME, "adminUsername": "azureuser", "adminPassword": password},
            "networkProfile": {"networkInterfaceConfigurations": [nic]},
        }
        properties = {
            "orchestrationMode": "Uniform",
            "overprovision": False,
            "upgradePolicy": {"mode": "Manual"},
            "virtualMachineProfile": profile,
        }
        sku = {"name": self.size, "tier": "Standard", "capacity": 1}
        body = {"location": self.lab.location, "sku": sku, "properties": properties}
        self.lab.must(self.lab.arm.settle("PUT", self.path, body, version=COMPUTE), "the scale set could not be made")
        found = list(self.lab.read(f"{self.path}/virtualMachines", version=COMPUTE).get("value") or ())
        if len(found) != 1:
            raise NotAnsweredError(f"the scale set has {len(found)} instances, not one")
        self.instance = f"{self.path}/virtualMachines/{found[0]['instanceId']}"

    def read(self) -> Mapping[str, Any]:
        """The instance; NotAnsweredError."""
        found: Mapping[str, Any] = self.lab.read(self.instance, version=COMPUTE)
        return found

    def write(self, names: Sequence[str], *, if_match: str = "") -> Outcome:
        """Its NIC has the primary ipConfiguration and those of these names; nothing else is sent, as azure-cni does."""
        shown = self.read()
        profile = shown["properties"]["networkProfileConfiguration"]
        (nic,) = profile["networkInterfaceConfigurations"]
        before = nic["properties"]["ipConfigurations"]
        kept = [one for one in before if one["name"] in {PRIMARY, *names}]
        subnet = next(one["properties"]["subnet"] for one in before if one["name"] == PRIMARY)
        for one in kept:
            one["properties"]["primary"] = one["name"] == PRIMARY
        known = {one["name"] for one in kept}
        added = {"primary": False, "subnet": subnet, "privateIPAddressVersion": "IPv4"}
        nic["properties"]["ipConfigurations"] = [
            *kept, *({"name": name, "properties": added} for name in names if name not in known)
        ]  # fmt: skip
        body = {"location": shown["location"], "properties": {"networkProfileConfiguration": profile}}
        headers = {"If-Match": if_match} if if_match else {}
        return self.lab.arm.settle("PUT", self.instance, body, version=COMPUTE, headers=headers)

    def read_nic(self, version: str = NETWORK) -> Answer:
        """Its NIC, whatever Azure answers."""
        return self.lab.arm.ask("GET", self.nic, version=version)

    def on_nic(self) -> set[str]:
        """The names of the NIC's ipConfigurations, under the version that azure-cni would use; NotAnsweredError."""
        for version in (NETWORK, "2023-11-01", "2018-10-01"):
            answer = self.read_nic(version)
            if answer.ok and isinstance(answer.body, dict):
                return {str(one["name"]) for one in answer.body["properties"]["ipConfigurations"]}
        raise NotAnsweredError(f"the instance's NIC could not be read: {answer.words}")
