"""The wireserver's list of interfaces, as Azure's own network plugin asks for it.

GET /machine/plugins?comp=nmagent&type=getinterfaceinfov1 (azure-container-networking, nmagent). Like the metadata
service it answers a VM's primary address only. A block shows in CIDR form, which is a guess.
"""

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from fakeazure import changelog, faults
from fakeazure.records import Nic, Vm
from fakeazure.wire import Answer, Request

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

OPERATION = "wireserver.interfaces"


def answer(azure: "FakeAzure", request: Request) -> Answer:
    """Carry one request out."""
    now = azure.settle()
    vm = azure.caller(request.source)
    if vm is None or azure.faults.take(faults.Silent, OPERATION, vm.name):
        reply = Answer(0, fate="silent")
    elif request.path.rstrip("/") != "/machine/plugins" or request.query.get("type") != "getinterfaceinfov1":
        reply = Answer(404)
    else:
        reply = Answer(200, document(azure, vm).encode(), content_type="text/xml; charset=utf-8")
    azure.history.record(changelog.Call(now, OPERATION, vm.name if vm else request.source, "", reply.status))
    return reply


def document(azure: "FakeAzure", vm: Vm) -> str:
    nics = [azure.network.nics[nic_id.lower()] for nic_id in vm.nic_ids]
    if azure.faults.take(faults.Stale, OPERATION, vm.name):
        nics = [azure.network.earlier.get(nic.id.lower(), nic) for nic in nics]
    return f"<Interfaces>{''.join(_interface(azure, nic) for nic in nics)}</Interfaces>"


def _interface(azure: "FakeAzure", nic: Nic) -> str:
    prefix = azure.network.subnets[nic.subnet_id.lower()].prefix
    addresses = "".join(
        f"<IPAddress Address={quoteattr(address.address)} IsPrimary={_flag(on=address.primary)}/>"
        for address in nic.effective_nic().addresses
    )
    mac = quoteattr(nic.mac.replace("-", ""))
    subnet = f"<IPSubnet Prefix={quoteattr(str(prefix))}>{addresses}</IPSubnet>"
    return f"<Interface MacAddress={mac} IsPrimary={_flag(on=nic.is_primary)}>{subnet}</Interface>"


def _flag(*, on: bool) -> str:
    return '"true"' if on else '"false"'
