"""The questions: what azure-cni takes to be so, and what each answer would mean. docs/on-azure.md is made of them.

A question here is asked by the function of its key in `network_answers.ANSWERS`; those of `machine_questions` are for a
person. The page says what the variables in the commands stand for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

AS_TAKEN: Final = "as taken"
"""The answer of every question after which nothing has to be done."""


@dataclass(frozen=True, slots=True)
class Question:
    """`taken` is what azure-cni takes for the answer; `otherwise` is what each other answer would mean for it."""

    key: str
    asks: str
    taken: str
    otherwise: Mapping[str, str]
    command: str = ""
    """For a person; of a question that the script asks, how it asks this one alone."""

    def __post_init__(self) -> None:
        if not self.command:
            object.__setattr__(self, "command", f"e2e/on-azure --only {self.key}")

    def meaning(self, answer: str) -> str:
        """What that answer means for azure-cni."""
        return "Nothing has to be done." if answer == AS_TAKEN else self.otherwise[answer]


NETWORK: Final = (
    Question(
        "api-versions",
        "Are NICs and VNets served under API version 2025-05-01?",
        "yes",
        {
            "older": "The newest version that the cloud lists is used, down to 2023-11-01. Nothing has to be done.",
            "too old": "azure-cni refuses this cloud: an older version does not show address blocks.",
        },
    ),
    Question(
        "unknown-version",
        "What does Azure answer to an API version that it does not have?",
        "`NoRegisteredProviderFound`, `InvalidApiVersionParameter` or `InvalidResourceType`, with a list of those that "
        "it has",
        {
            "another code": "`azure/api_versions.py` has to know the code; until then an older cloud seems to refuse.",
            "no list": "An older version cannot be chosen from the refusal: it has to be a value of the chart.",
        },
    ),
    Question(
        "lowest-first",
        "Does a dynamic ipConfiguration get the lowest free address of its subnet?",
        "yes; nothing depends on it but which addresses a full subnet gives back",
        {"another": "The order in the fake and in the documentation is wrong; nothing else."},
    ),
    Question(
        "etag",
        "Does a NIC's write with an old ETag in If-Match end with 412, and change nothing?",
        "yes, with the code `PreconditionFailed`; the agent reads the NIC before and after each write all the same",
        {
            "another code": "`azure/error_bodies.py` has to know the code: until then such a write counts as refused.",
            "ignored": "Two writers can undo each other's change: the agent's reads are then the only guard, and "
            "docs/limits.md has to say so.",
        },
    ),
    Question(
        "held-back",
        "How soon may an address be claimed again that an ipConfiguration has just given up?",
        "at once; it was reported to take eight minutes (egressip-ipam-operator 65, 2021)",
        {
            "later": "An address that another tool removed is refused to the agent for that long; it asks again. The "
            "fake has to hold addresses back.",
            "not within the time": "As above, and the address is lost to pods that wait for it meanwhile.",
        },
    ),
    Question(
        "usage-lag",
        "Does the VNet's usage show a change of a NIC at once?",
        "yes; it is read every five minutes, each minute while pods wait",
        {
            "later": "What is subtracted for others can be wrong for that long: the reader of usages has to wait as "
            "long after a write.",
            "not within the time": "Usages cannot count others' addresses: `quota.reserved` is the only way.",
        },
    ),
    Question(
        "full-subnet",
        "Which code does a write have for which the subnet has no address?",
        "`SubnetIsFull`, from the write or from its operation",
        {
            "another code": "`azure/error_bodies.py` has to know the code: until then the node's reason is not "
            "`SubnetFull`, and idle addresses are not taken back for it.",
        },
    ),
    Question(
        "most-configurations",
        "Does a NIC take 256 ipConfigurations, and with which code does it refuse 257?",
        "256, the primary one included; the code is not known, and not needed, because the agent counts first",
        {
            "fewer": "`ipam/limits.py` has a limit that Azure does not keep: a pool near 250 would be refused.",
            "more": "The limit may have been raised: nothing has to be done; the documentation can say so.",
        },
    ),
    Question(
        "block",
        "May a subscription put a /28 on a NIC without being registered for it, and how is it shown?",
        "yes; `privateIPAddress` is the block in CIDR form, and the subnet has room for it",
        {
            "refused": "`blocks: 28` needs what the message says: docs/install.md has to name it before anything else.",
            "another form": "`azure/ip_configurations.py` has to read it: until then such a block is nobody's.",
        },
    ),
    Question(
        "block-usage",
        "Does a subnet's usage count a block as 16 addresses?",
        "as 16",
        {
            "as 1": "`SubnetFragmented` can be reported of a subnet that is full, and others seem to have fewer "
            "addresses than they do: blocks have to be counted from the NICs.",
            "otherwise": "Usages cannot be added up where blocks are: as above.",
        },
    ),
    Question(
        "block-address",
        "Is an address within a block shown as taken by `checkIPAddressAvailability`?",
        "yes",
        {"free": "`azure-cni who` must not ask Azure for an address of a block."},
    ),
    Question(
        "block-fragmented",
        "Which code does a write of a block have, where the subnet has enough addresses and no sixteen that make one?",
        "`SubnetIsFull`",
        {
            "another code": "`azure/error_bodies.py` has to know the code: until then the node's reason is not "
            "`SubnetFull`, no VNetQuota says `SubnetFragmented`, and the node does not take single addresses.",
            "taken": "Azure moved or split something: the rule that blocks are aligned is wrong, and the fake with it.",
        },
    ),
    Question(
        "ipv6-block",
        "May a NIC have one ipConfiguration of IPv6 with a prefix length of 112?",
        "yes (AKS issue 5722, 2026)",
        {
            "refused": "IPv6 takes one /128 for each IPv4 address, and as many ipConfigurations more.",
            "another form": "The block's form has to be read before dual stack can use it.",
        },
    ),
)
