"""Documents of a NIC, as Azure has them."""

from __future__ import annotations

from typing import Any

PROVIDERS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"


def nic(*configs: dict[str, Any], state: str = "Succeeded") -> dict[str, Any]:
    return {
        "id": f"{PROVIDERS}/networkInterfaces/n",
        "etag": 'W/"1"',
        "properties": {"provisioningState": state, "ipConfigurations": list(configs)},
    }


def config(name: str, address: str | None, **properties: Any) -> dict[str, Any]:
    shown = {"provisioningState": "Succeeded", "subnet": {"id": "/subnets/s"}, **properties}
    return {"name": name, "properties": shown if address is None else {"privateIPAddress": address, **shown}}


PRIMARY = config("ipconfig1", "10.0.0.4", primary=True)
