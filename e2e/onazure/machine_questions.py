"""The questions for which a running VM is needed, an instance of a scale set, or a person with a cluster.

Those of the first two are asked by the functions of their keys, in ANSWERS of `machine_answers` and
`scale_set_answers`.
"""

from typing import Final

from onazure.questions import Question

WITH_VM: Final = "e2e/on-azure --vm --only "
WITH_SCALE_SET: Final = "e2e/on-azure --scale-set --only "

MACHINE: Final = (
    Question(
        "write-time",
        "How long does a write of a running VM's NIC take, for 1, 16 and 250 addresses?",
        "5 to 60 s; a node waits for it as long as Azure says that it is under way",
        {"longer": "`minFree` has to cover what comes in that time: docs/sizing.md has to say so."},
        command=f"{WITH_VM}write-time",
    ),
    Question(
        "write-in-write",
        "What becomes of two writes of a running VM's NIC at once?",
        "the second is refused with 429 or 409 (`RetryableError`, `AnotherOperationInProgress`), or it is accepted and "
        "the first ends `Canceled`: all three are handled",
        {"another code": "`azure/error_bodies.py` has to know the code: until then the pause is that of a refusal."},
        command=f"{WITH_VM}write-in-write",
    ),
    Question(
        "metadata-lag",
        "How long after a write does the VM's metadata service show an address?",
        "within 20 s after the operation has succeeded",
        {
            "later": "The 20 seconds for which the metadata service is not believed about a new address are too few; "
            "with `nicWriter: none` pods wait that long.",
        },
        command=f"{WITH_VM}metadata-lag",
    ),
    Question(
        "metadata-block",
        "Does the metadata service show a block of 16 addresses, and how?",
        "as one address in CIDR form",
        {
            "another form": "`azure/instance_document.py` has to read it; until then such a block is not seen.",
            "not at all": "The node reads its NIC from Resource Manager more often than it would have to.",
        },
        command=f"{WITH_VM}metadata-block",
    ),
    Question(
        "attested",
        "Does a VM's attested document have the nonce, and who signs it?",
        "it has; metadata.azure.com or below, under an authority that `azure.attestation` trusts",
        {
            "another signer": "Nodes stay `NotAttested`: `azure/attestation.py` has to know the name, or "
            "`azure.attestation.caBundle` has to have the authority.",
            "without the nonce": "Attestation proves nothing about a node: `providerID` is what is left.",
        },
        command=f"{WITH_VM}attested",
    ),
)

SCALE_SET: Final = (
    Question(
        "instance-etag",
        "Does the etag of a Uniform scale set's instance change with each write of its network?",
        "yes",
        {"stays": "Two writers of an instance can undo each other's change; a node must be its only one."},
        command=f"{WITH_SCALE_SET}instance-etag",
    ),
    Question(
        "instance-nic-version",
        "Can an instance's NIC be read under API version 2025-05-01?",
        "yes; else the newest that Azure lists is used, down to 2018-10-01",
        {"older than 2023-11-01": "Blocks of instances cannot be seen: they are not used there anyway."},
        command=f"{WITH_SCALE_SET}instance-nic-version",
    ),
    Question(
        "instance-lag",
        "How long does an instance's NIC show what was before, once a write of the instance has succeeded?",
        "not at all, or for seconds: the node reads the NIC until it shows what was written",
        {"minutes": "New pods on such nodes wait as long: docs/install.md has to say so."},
        command=f"{WITH_SCALE_SET}instance-lag",
    ),
    Question(
        "instance-shrink",
        "Do addresses leave an instance's NIC when the instance is written without them?",
        "no (cilium issue 46073): `scaleSets.shrink` is off",
        {"they leave": "`scaleSets.shrink` can be on by default."},
        command=f"{WITH_SCALE_SET}instance-shrink",
    ),
)

PERSON: Final = (
    Question(
        "packets",
        "Do pods reach each other, their nodes, Services and the internet, and are spoofed packets dropped?",
        "yes",
        {"something fails": "The line that fails says what; `azure-cni trace` says which hop decides."},
        "azure-cni test --outbound https://ifconfig.me/ip",
    ),
    Question(
        "pod-subnet",
        "Do pods with a subnet of their own work on a VM with accelerated networking, whose interfaces come in pairs "
        "with one MAC address?",
        "yes: the interface without a master is taken",
        {"something fails": "An issue needs `ip -d link` of the node and the agent's log."},
        "azure-cni test --node NODE",
    ),
)
