"""The refusals of Azure Resource Manager and the network provider, word for word where a word was ever recorded.

Recorded or quoted by others: everything below but the codes that nobody has published, which are this fake's own choice
and marked so. A client must therefore not depend on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CONFLICT = 409
GATEWAY = {"x-ms-failure-cause": "gateway"}


@dataclass(frozen=True)
class ArmError(Exception):
    """An answer with an error body; `details` are (code, message) pairs, None leaves the key out."""

    status: int
    code: str
    message: str
    details: tuple[tuple[str, str], ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = [{"code": code, "message": message} for code, message in self.details]
        return {"error": error}


def resource_not_found(typed_name: str, group: str) -> ArmError:
    text = (
        f"The Resource '{typed_name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", text, headers=GATEWAY)


def group_not_found(group: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.", headers=GATEWAY)


def subscription_not_found(subscription: str) -> ArmError:
    return ArmError(
        404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.", headers=GATEWAY
    )


def unknown_type(name: str) -> ArmError:
    text = f"The resource type '{name}' could not be found: this Azure does not have it."
    return ArmError(404, "InvalidResourceType", text, headers=GATEWAY)


def missing_api_version() -> ArmError:
    text = "The api-version query parameter (?api-version=) is required for all requests."
    return ArmError(400, "MissingApiVersionParameter", text, headers=GATEWAY)


def invalid_content(why: str) -> ArmError:
    return ArmError(
        400, "InvalidRequestContent", f"The request content was invalid and could not be deserialized: '{why}'."
    )


def invalid_format(why: str) -> ArmError:
    return ArmError(400, "InvalidRequestFormat", "Cannot parse the request.", (("InvalidRequestFormat", why),))


def location_required() -> ArmError:
    return ArmError(400, "LocationRequired", "The location property is required for this definition.")


def location_differs(nic_id: str, *, group: str, has: str, wanted: str) -> ArmError:
    text = (
        f"The resource '{nic_id.rsplit('/', 1)[1]}' already exists in location '{has}' in resource group '{group}'. "
        f"A resource with the same name cannot be created in location '{wanted}'. Please select a new resource name."
    )
    return ArmError(409, "InvalidResourceLocation", text)


def precondition_failed(resource_id: str, *, given: str, current: str) -> ArmError:
    text = (
        f"Etag provided in if-match header {given} does not match etag {current} of resource {resource_id} "
        "in NRP data store."
    )
    return ArmError(412, "PreconditionFailed", "Precondition failed.", (("PreconditionFailedEtagMismatch", text),))


def subnet_is_full(subnet_id: str, *, prefix: str, count: int) -> ArmError:
    text = f"Subnet {subnet_id} with address prefix {prefix} does not have enough capacity for {count} IP addresses."
    return ArmError(400, "SubnetIsFull", text, ())


def address_is_allocated(config_id: str, *, address: str, owner_id: str) -> ArmError:
    text = (
        f"IP configuration {config_id} is using the private IP address {address} "
        f"which is already allocated to resource {owner_id}."
    )
    return ArmError(400, "PrivateIPAddressIsAllocated", text, ())


def address_reserved(config_id: str, *, address: str, prefix: str) -> ArmError:
    text = (
        f"Private static IP address {address} of {config_id} falls within reserved IP range of subnet prefix {prefix}."
    )
    return ArmError(400, "PrivateIPAddressInReservedRange", text, ())


def address_not_in_subnet(config_id: str, *, address: str, prefix: str) -> ArmError:
    text = f"Private static IP address {address} of {config_id} does not belong to the range of subnet prefix {prefix}."
    return ArmError(400, "PrivateIPAddressNotInSubnet", text, ())


def primary_lost(name: str) -> ArmError:
    text = (
        f"IP Configuration {name} cannot be deleted. Deletion and renaming of primary IP Configuration is not supported"
    )
    return ArmError(400, "IpConfigDeleteNotSupported", text, ())


def not_one_primary(nic_id: str) -> ArmError:
    text = f"Network interface {nic_id} must have one and only one IP configuration as primary."
    return ArmError(400, "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary", text, ())


def different_subnets(nic_id: str) -> ArmError:
    text = f"IPConfigurations on a Nic {nic_id} cannot belong to different subnets."
    return ArmError(400, "IpConfigurationsOnSameNicCannotUseDifferentSubnets", text, ())


def subnet_required(config_id: str) -> ArmError:
    return ArmError(400, "SubnetRequired", f"Subnet reference is required for ipconfiguration {config_id}.", ())


def duplicate_name(nic_id: str, name: str) -> ArmError:
    text = f"Resource {nic_id} has two child resources with the same name ({name})."
    return ArmError(400, "DuplicateResourceName", text, ())


def missing_reference(missing_id: str, *, by: str) -> ArmError:
    text = (
        f"Resource {missing_id} referenced by resource {by} was not found. Please make sure that the referenced "
        "resource exists, and that both resources are in the same region."
    )
    return ArmError(400, "InvalidResourceReference", text, ())


def public_address_in_use(public_ip_id: str, *, by: str, owner_id: str) -> ArmError:
    text = f"Resource {by} is referencing public IP address {public_ip_id} that is already allocated to {owner_id}."
    return ArmError(400, "PublicIPAddressInUse", text, ())


def too_many_configs(nic_id: str, *, count: int, limit: int) -> ArmError:
    """Our own code: which one the network provider uses was never published."""
    text = (
        f"The total number of ipconfigurations {count} in network interface {nic_id} "
        f"exceeds the maximum allowed value of {limit}."
    )
    return ArmError(400, "IpConfigurationCountPerNicExceeded", text, ())


def vnet_full(vnet_id: str, *, limit: int) -> ArmError:
    """Our own code: which one the network provider uses was never published."""
    text = f"The total number of private IP addresses in virtual network {vnet_id} exceeds the maximum of {limit}."
    return ArmError(400, "PrivateIPAddressCountPerVirtualNetworkExceeded", text, ())


def bad_prefix_config(config_id: str, why: str) -> ArmError:
    """Our own code: the rules of address blocks are documented, their errors are not."""
    return ArmError(400, "InvalidPrivateIPAddressPrefixConfiguration", f"IP configuration {config_id}: {why}.", ())


def nic_in_use(nic_id: str, vm_id: str) -> ArmError:
    text = (
        f"Network Interface {nic_id} is used by existing resource {vm_id}. In order to delete the network interface, "
        "it must be dissociated from the resource. To learn more, see aka.ms/deletenic."
    )
    return ArmError(400, "NicInUse", text, ())


def busy(operation: str, *, resource_id: str, retry_after_s: int) -> ArmError:
    """Another operation holds the resource: 429, but no throttling."""
    text = (
        f"Operation {operation} is updating resource {resource_id}. The call can be retried in {retry_after_s} seconds."
    )
    return ArmError(
        429,
        "RetryableError",
        "A retryable error occurred.",
        (("RetryableErrorDueToAnotherOperation", text),),
        {"Retry-After": str(retry_after_s)},
    )


def conflict(poll_url: str) -> ArmError:
    text = (
        "Another operation on this or dependent resource is in progress. "
        f"To retrieve status of the operation use uri: {poll_url}."
    )
    return ArmError(409, "AnotherOperationInProgress", text, ())


def throttled_by_arm(kind: str, *, actor: str, retry_after_s: int) -> ArmError:
    text = (
        f"Number of '{kind}' requests for subscription actor '{actor}' exceeded. Please try again after "
        f"'{retry_after_s}' seconds after additional tokens are available. "
        "Refer to https://aka.ms/arm-throttling for additional information."
    )
    return ArmError(429, "SubscriptionRequestsThrottled", text, headers={"Retry-After": str(retry_after_s), **GATEWAY})


def throttled_by_network(kind: str, *, retry_after_s: int) -> ArmError:
    """Our own code: that the network provider answers 429 with Retry-After is documented, its body is not."""
    text = f"The request is being throttled as the limit has been reached for operation type - {kind} in 5 minutes."
    return ArmError(429, "TooManyRequests", text, (), {"Retry-After": str(retry_after_s)})


def no_such_instance(number: str) -> ArmError:
    text = f"The provided instanceId {number} is not an active Virtual Machine Scale Set VM instanceId."
    return ArmError(400, "InvalidParameter", text)


def invalid_parameter(why: str, name: str) -> ArmError:
    return ArmError(400, "InvalidParameter", f"The value of parameter {name} is invalid: {why}.")


def unknown_member(member: str, *, kind: str) -> ArmError:
    """The compute provider takes no property that it does not know."""
    text = f"Could not find member '{member}' on object of type '{kind}'. Path 'properties', line 1, position 1."
    return ArmError(400, "BadRequest", text)


def instance_changed(*, given: str, current: str) -> ArmError:
    text = f'Etag provided in if-match header "{given}" does not match etag "{current}" of resource.'
    return ArmError(412, "PreconditionFailed", text)


def too_many_of_instance(set_name: str, *, count: int, limit: int) -> ArmError:
    text = (
        f"The total number of secondary ipconfigurations {count} in network profile for scale set {set_name} exceeds "
        f"the maximum allowed value of {limit}."
    )
    return ArmError(400, "SecondaryIpConfigurationCountPerVMSSVMExceeded", text)


def image_of_another_tenant(instance_id: str, image_id: str, *, tenant: str) -> ArmError:
    text = (
        "The client has permission to perform action 'Microsoft.Compute/galleries/images/versions/read' on scope "
        f"'{instance_id}', however the current tenant '{tenant}' is not authorized to access linked subscription "
        f"'{image_id.split('/')[2]}'."
    )
    return ArmError(403, "LinkedAuthorizationFailed", text, headers=GATEWAY)


def throttled_by_compute(group: str, *, limit: int, retry_after_s: int) -> ArmError:
    """The compute provider hides the facts as JSON inside a string."""
    facts = f'{{"operationGroup":"{group}","startTime":"","endTime":"","allowedRequestCount":{limit}}}'
    text = "The server rejected the request because too many requests have been received for this subscription."
    return ArmError(
        429, "OperationNotAllowed", text, (("TooManyRequests", facts),), {"Retry-After": str(retry_after_s)}
    )


def forbidden(object_id: str, *, action: str, scope: str) -> ArmError:
    text = (
        f"The client '{object_id}' with object id '{object_id}' does not have authorization to perform action "
        f"'{action}' over scope '{scope}' or the scope is invalid. "
        "If access was recently granted, please refresh your credentials."
    )
    return ArmError(403, "AuthorizationFailed", text, headers=GATEWAY)


def forbidden_link(object_id: str, *, action: str, scope: str, missing: Iterable[tuple[str, str]]) -> ArmError:
    """`missing` are (action, scope of the linked resource); Azure names the first action and all its scopes."""
    pairs = list(missing)
    linked = pairs[0][0]
    scopes = ", ".join(f"'{where}'" for what, where in pairs if what == linked)
    text = (
        f"The client '{object_id}' with object id '{object_id}' has permission to perform action '{action}' on scope "
        f"'{scope}'; however, it does not have permission to perform action '{linked}' on the linked scope(s) "
        f"{scopes} or the linked scope(s) are invalid."
    )
    return ArmError(403, "LinkedAuthorizationFailed", text, headers=GATEWAY)


def unauthenticated(code: str, message: str, *, tenant: str) -> ArmError:
    challenge = (
        f'Bearer authorization_uri="https://login.windows.net/{tenant}", error="invalid_token", '
        f'error_description="{message}"'
    )
    return ArmError(401, code, message, headers={"WWW-Authenticate": challenge, **GATEWAY})


def different_groups(nic_id: str, *, one: tuple[str, list[str]], other: tuple[str, list[str]]) -> ArmError:
    """`one` and `other` are (name of the configuration, its application security groups)."""
    (first, ours), (second, theirs) = one, other
    text = (
        "All IPConfigurations on a Network Interface should reference the same set of Application Security Groups. "
        f"IPConfiguration {nic_id}/ipConfigurations/{first} references ASG(s) {','.join(ours)}, wheras "
        f"IPConfiguration {nic_id}/ipConfigurations/{second} references ASG(s) {','.join(theirs)}."
    )
    return ArmError(400, "AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups", text, ())


def not_found(resource_id: str) -> ArmError:
    """The network provider's own answer, where the gateway does not say it."""
    return ArmError(404, "NotFound", f"Resource {resource_id} not found.", ())


def hidden() -> ArmError:
    """The same for a fault that knows no resource."""
    return ArmError(404, "NotFound", "Resource not found.", ())


def locked() -> ArmError:
    """As Azure's documentation of management locks quotes it, but for the scope."""
    text = (
        "The scope cannot perform write operation because following scope(s) are locked: the resource group. "
        "Please remove the lock and try again."
    )
    return ArmError(CONFLICT, "ScopeLocked", text)
