"""Clouds that do not know every API version, and how they say so, word for word as reported.

Sources: NoRegisteredProviderFound azure-sdk-for-js issue 9297, InvalidResourceType azure-powershell issue 12061,
InvalidApiVersionParameter ansible-collections/azure issue 1739 (there the list is the gateway's own, not the type's).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fakeazure.errors import GATEWAY, ArmError
from fakeazure.names import ResourceId

Code = Literal["NoRegisteredProviderFound", "InvalidResourceType", "InvalidApiVersionParameter"]


@dataclass(frozen=True, slots=True)
class Limited:
    """A kind of resource that is served under these versions only; `listed` is what the refusal names."""

    supported: tuple[str, ...]
    listed: tuple[str, ...]
    code: Code


@dataclass(slots=True)
class ApiVersions:
    """By kind of resource ("Microsoft.Network/networkInterfaces"); one that is not here takes any version."""

    location: str
    limited: dict[str, Limited] = field(default_factory=dict)

    def limit(
        self,
        kind: str,
        supported: Sequence[str],
        *,
        listed: Sequence[str] | None = None,
        code: Code = "NoRegisteredProviderFound",
    ) -> None:
        """From now on this kind is served under these versions only."""
        named = supported if listed is None else listed
        self.limited[kind.lower()] = Limited(tuple(supported), tuple(named), code)

    def admit(self, resource: ResourceId, query: Mapping[str, str]) -> None:
        """Raise the refusal of a version that this kind does not have."""
        kind, asked = resource.types[0] if resource.types else "", query["api-version"]
        limited = self.limited.get(f"{resource.provider}/{kind}".lower())
        if limited is None or asked in limited.supported:
            return
        versions, short = ", ".join(limited.listed), ",".join(limited.listed)
        match limited.code:
            case "NoRegisteredProviderFound":
                text = (
                    f"No registered resource provider found for location '{self.location}' and API version '{asked}' "
                    f"for type '{kind}'. The supported api-versions are '{versions}'. "
                    f"The supported locations are '{self.location}'."
                )
                raise ArmError(400, limited.code, text, headers=GATEWAY)
            case "InvalidResourceType":
                text = (
                    f"The resource type '{kind}' could not be found in the namespace '{resource.provider}' for api "
                    f"version '{asked}'. The supported api-versions are '{short}'."
                )
                raise ArmError(404, limited.code, text, headers=GATEWAY)
            case "InvalidApiVersionParameter":
                text = f"The api-version '{asked}' is invalid. The supported versions are '{short}'."
                raise ArmError(400, limited.code, text, headers=GATEWAY)
