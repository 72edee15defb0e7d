"""All errors of the product, as one small tree.

An error is raised where the fact is known, translated once at the edge, and handled where something can be done.
Each class has the CNI error code for the runtime (CNI specification 1.1.0, section "Error"), a CamelCase reason for
conditions and events, and whether a retry without a change can help (`retriable`): where it cannot, a person has to
change something, and retries are rare.

    AzureCniError
    ├── InternalFault           999 a fault of azure-cni, in one activity
    ├── RequestError            the caller's fault
    │   ├── EnvironmentInvalid      4   a CNI variable is missing or malformed
    │   ├── DecodeFailed            6   what came is not JSON, or not of the right shape
    │   ├── ConfigInvalid           7   network configuration, pool or settings
    │   ├── VersionUnsupported      1   a CNI version that this build does not speak
    │   └── SandboxUnknown          3   CHECK of a sandbox that the ledger does not hold
    ├── NoAddress               11  the pool has nothing for this pod now; says why
    ├── NodeNotReady            50  the node cannot take any pod now; says why
    ├── DatapathError           5   the kernel refused, or differs from what it should be
    │   └── DatapathOutcomeUnknown      what was begun may have been done
    ├── LedgerError             5   the ledger's file cannot be read or written
    ├── CloudError              11  Azure
    │   ├── CloudUnreachable        no answer, a 5xx, or an answer that is not Azure's
    │   │   └── OutcomeUnknown          a write was accepted, and how it ended could not be learnt
    │   ├── Throttled               429; knows when to come back
    │   ├── WritesSpent             no write is left of what Azure allows; knows when one is
    │   ├── ResourceBusy            another operation holds the NIC, or ours was superseded by it
    │   ├── PreconditionFailed      412: somebody else changed the NIC since it was read
    │   ├── SubnetFull              the subnet has too few addresses left
    │   ├── AccessDenied            403; knows the missing action and its scope
    │   │   └── NotAttested             a node did not prove to the controller which VM it is
    │   ├── CloudNotFound           404
    │   ├── RequestRefused          any other 4xx: trying again without a change cannot help
    │   │   └── VersionUnknown          Azure does not support the API version of the request; knows those that it does
    │   └── OperationFailed         accepted, but the long-running operation ended Failed or Canceled
    └── KubeError               11  the Kubernetes API
        ├── KubeUnreachable         no answer, or a 5xx
        ├── KubeDenied              401 or 403
        ├── KubeConflict            409: changed since it was read, or exists already
        ├── KubeNotFound            404
        └── KubeInvalid             400 or 422: the API server refuses the object
"""

from __future__ import annotations

from typing import ClassVar, Final

LONGEST_RETRY_AFTER_S: Final = 1800.0
"""The longest wait that is honoured when Azure asks for one (`Retry-After`): the compute provider has been seen to ask
for 1,200 s. A longer one is a mistake, or comes from a clock that is wrong. No error carries more."""


class AzureCniError(Exception):
    """Root of all errors that azure-cni raises on purpose; its text is for a person."""

    code: ClassVar[int] = 999
    reason: ClassVar[str] = "InternalError"
    retriable: ClassVar[bool] = False


class InternalFault(AzureCniError):
    """A fault of azure-cni: an activity raised an unexpected exception (`azure_cni.faults`). It is retried."""

    retriable = True


class RequestError(AzureCniError):
    """What came from outside is wrong; nothing was changed."""


class EnvironmentInvalid(RequestError):
    """A CNI variable (container, network namespace, interface, args) is missing or malformed."""

    code = 4
    reason = "InvalidEnvironment"


class DecodeFailed(RequestError):
    """A body is not JSON, or not of the promised shape."""

    code = 6
    reason = "DecodeFailed"


class ConfigInvalid(RequestError):
    """A network configuration, a pool's spec or a setting has an unknown key or a value out of range."""

    code = 7
    reason = "InvalidConfig"


class VersionUnsupported(RequestError):
    """A CNI version outside 0.3.0 to 1.1.0."""

    code = 1
    reason = "UnsupportedVersion"


class SandboxUnknown(RequestError):
    """The ledger holds no address for this sandbox."""

    code = 3
    reason = "UnknownSandbox"


class NoAddress(AzureCniError):
    """The pool has no address for this pod now; `cause` is a CamelCase word for its event (`PoolGrowing`, ...)."""

    code = 11
    reason = "NoAddress"
    retriable = True

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class NodeNotReady(AzureCniError):
    """The node cannot take a pod: identity not known yet, no pool, nothing free and no way to grow."""

    code = 50
    reason = "NodeNotReady"
    retriable = True


class DatapathError(AzureCniError):
    """The kernel refused a change, or CHECK found the sandbox different from what it should be."""

    code = 5
    reason = "DatapathFailed"


class DatapathOutcomeUnknown(DatapathError):
    """Nobody says whether what was begun has been done, or will be: HNS hangs, or ended in the middle of a call."""


class LedgerError(AzureCniError):
    """The ledger's file cannot be opened, read or written; nothing was assigned or released."""

    code = 5
    reason = "LedgerFailed"


class CloudError(AzureCniError):
    """Azure did not do what was asked. `azure_code` is Azure's own word for it, "" where there is none."""

    code = 11
    reason = "AzureFailed"
    retriable = True
    accepted: bool = False
    """The error came after Azure had accepted a write: until a read shows another etag, the write may have changed the
    resource, whatever kind of error this is."""

    def __init__(self, message: str, *, azure_code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.azure_code = azure_code
        self.retry_after_s = None if retry_after_s is None else min(max(retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        self.lacks = ""
        """The permission whose lack it comes from (`Microsoft.Network/.../read`), where that is known."""


class CloudUnreachable(CloudError):
    """No answer within the time allowed, a 5xx, or an answer of somebody else than Azure."""

    reason = "AzureUnreachable"


class OutcomeUnknown(CloudUnreachable):
    """Azure accepted a write, and its outcome could not be read: the operation may still be running."""

    reason = "OutcomeUnknown"
    accepted = True


class Throttled(CloudError):
    """429 because of too many requests; `retry_after_s` is the wait that Azure asked for, None if it named none."""

    reason = "Throttled"


class WritesSpent(CloudError):
    """Azure allows no more writes of this for now, as we count them, so it was not asked; `retry_after_s` until one."""

    reason = "WriteBudget"


class ResourceBusy(CloudError):
    """Another operation holds the resource, or superseded ours."""

    reason = "NicUpdating"


class PreconditionFailed(CloudError):
    """412: the document changed since it was read. Read again and decide again."""

    reason = "ChangedMeanwhile"


class SubnetFull(CloudError):
    """The subnet has too few addresses left. `added`: how many of the wanted ones were added nevertheless."""

    reason = "SubnetFull"

    def __init__(
        self, message: str, *, added: int = 0, azure_code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, azure_code=azure_code, retry_after_s=retry_after_s)
        self.added = added


class AccessDenied(CloudError):
    """403. `action` is missing (`Microsoft.Network/.../write`), at `scope`, to an object ID; "" if unknown."""

    reason = "AccessDenied"
    retriable = False

    def __init__(self, message: str, *, action: str = "", scope: str = "", who: str = "", azure_code: str = "") -> None:
        super().__init__(message, azure_code=azure_code)
        self.action = self.lacks = action
        self.scope, self.identity = scope, who


class NotAttested(AccessDenied):
    """A node did not prove to the controller which VM it is (`nicWriter: controller`)."""

    reason = "NotAttested"
    retriable = True


class CloudNotFound(CloudError):
    """404: the VM, NIC, subnet or VNet does not exist, or is hidden from this identity."""

    reason = "NotFound"


class RequestRefused(CloudError):
    """Azure refuses the request as it stands (any other 4xx)."""

    reason = "RequestRefused"
    retriable = False


class VersionUnknown(RequestRefused):
    """Azure does not support the API version of the request. `supported` are those that it lists, oldest first."""

    def __init__(self, message: str, *, supported: tuple[str, ...], azure_code: str = "") -> None:
        super().__init__(message, azure_code=azure_code)
        self.supported = supported


class OperationFailed(CloudError):
    """The write was accepted and its operation then ended Failed or Canceled: the NIC must be read again."""

    reason = "OperationFailed"


REFUSALS: Final[tuple[type[CloudError], ...]] = (
    AccessDenied, CloudNotFound, OperationFailed, PreconditionFailed, RequestRefused, SubnetFull, Throttled, WritesSpent
)  # fmt: skip
"""Azure's own answers to the request of a write, unless it had been accepted before (`accepted`), or no request at all:
every later read shows its effect, if any. All other errors leave open whether it was carried out, or will be."""


class KubeError(AzureCniError):
    """The Kubernetes API did not do what was asked."""

    code = 11
    reason = "KubernetesFailed"
    retriable = True


class KubeUnreachable(KubeError):
    """No answer within the time allowed, or a 5xx."""

    reason = "KubernetesUnreachable"


class KubeDenied(KubeError):
    """401 or 403: the service account lacks a permission."""

    reason = "KubernetesDenied"


class KubeConflict(KubeError):
    """409: the object changed since it was read, or exists already."""

    reason = "KubernetesConflict"


class KubeNotFound(KubeError):
    """404: the object, or its kind, does not exist."""

    reason = "KubernetesNotFound"


class KubeInvalid(KubeError):
    """400 or 422: the API server refuses the object as it stands."""

    reason = "KubernetesInvalid"
    retriable = False
