"""The names of Azure's public clouds, as settings and the metadata service (`azEnvironment`) write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from azure_cni.errors import RequestRefused

PUBLIC: Final = "AzurePublicCloud"
US_GOVERNMENT: Final = "AzureUSGovernment"
CHINA: Final = "AzureChinaCloud"
NAMES: Final = (PUBLIC, US_GOVERNMENT, CHINA)

ALIASES: Final[Mapping[str, str]] = {
    "AzureCloud": PUBLIC,
    "AzureUSGovernmentCloud": US_GOVERNMENT,
    "AzureGovernment": US_GOVERNMENT,
}
"""What the metadata service, or older hosts, call the same clouds."""


def canonical(name: str) -> str:
    """The name by which this product knows the cloud; one that is none of them stays as it is."""
    return ALIASES.get(name, name)


def refuse_another(environment: str, *, configured: str) -> None:
    """Raise RequestRefused if the VM is in another public cloud than the configured one.

    Otherwise the token service of another cloud would refuse, with an error that does not point to this setting. A
    private cloud has its own name and uses the tokens of a public one, so it cannot be checked.
    """
    shown = canonical(environment)
    if shown in NAMES and configured in NAMES and shown != configured:
        raise RequestRefused(
            f"cannot identify this node: the metadata service says that this VM is in {environment}, and azure.cloud "
            f"is {configured}; set azure.cloud to {shown}"
        )
