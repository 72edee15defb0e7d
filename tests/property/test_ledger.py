"""Whatever pods, Azure and people do in whatever order, the ledger never gives one address to two."""

from dataclasses import replace
from ipaddress import IPv6Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from azure_cni.errors import EnvironmentInvalid, NoAddress
from azure_cni.ipam.ledger import Change, Holder, Ledger, Sandbox, State
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from azure_cni.model.ipv6 import IPv6Configuration
from azure_cni.model.nic import ConfigName, ExcludedConfiguration
from fakes.ledger_store import without_network
from unit.ipam.views import address, config, view

PODS, ADDRESSES = st.integers(0, 3), st.integers(0, 4)  # few, so that they meet
NETWORKS = st.sampled_from(("azure-cni", "azure-cni", "storage"))


def held_in(network, pod):
    return Holder(Sandbox(network, f"container-{pod}", "eth0"))


class LedgerMachine(RuleBasedStateMachine):
    """The ledger beside a plain model: what each pod was given, and when an address was last used."""

    dual = False
    ipv6 = ()
    """What the NIC shows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(dual=self.dual)
        self.now_s = 1000.0
        self.reported = {}  # pod -> its addresses
        self.network = {}  # pod -> the network that its interface is in, "" while that is not written down
        self.ended = {}  # address -> when its last pod ended, while it has been on the NIC since
        self.on_nic = set()

    def do(self, change: Change):
        self.ledger.apply(change)
        # What a restarted agent loads is the same ledger, after every single change.
        assert Ledger(self.ledger.slots, dual=self.dual).slots == self.ledger.slots

    @rule(seconds=st.floats(0.0, 200.0))
    def time_passes(self, seconds):
        self.now_s += seconds

    def is_anothers(self, pod, network):
        """The pod's interface is in a network that is known, and is not this one."""
        return self.network.get(pod, "") not in {"", network}

    @rule(pod=PODS, network=NETWORKS, at_limit=st.booleans(), count=st.integers(1, 3))
    def add(self, pod, network, at_limit, count):
        before, holder = self.ledger.counts(), held_in(network, pod)
        try:
            self.do(self.ledger.assign(holder, now_s=self.now_s, at_limit=at_limit, count=count))
        except EnvironmentInvalid:
            assert self.is_anothers(pod, network)
            return
        except NoAddress:
            assert before.free < count
            assert pod not in self.reported
            return
        assert not self.is_anothers(pod, network)
        self.network[pod] = network
        given = {slot.address for slot in self.ledger.holding(holder.sandbox)}
        if pod in self.reported:
            assert given == self.reported[pod]
            return
        assert len(given) == count
        assert not given & self.all_told()
        assert given <= self.on_nic
        cooled = sorted((self.now_s - self.ended.pop(one, -1e9) for one in given), reverse=True)
        assert all(rest_s >= COOLING_S for rest_s in cooled[: before.free])
        assert all(at_limit and rest_s >= COOLING_AT_LIMIT_S for rest_s in cooled[before.free :])
        self.reported[pod] = given

    def all_told(self):
        return {one for addresses in self.reported.values() for one in addresses}

    @rule(pod=PODS, network=st.sampled_from(("azure-cni", "storage", "")))
    def delete(self, pod, network):
        self.do(self.ledger.unassign(held_in(network, pod).sandbox, now_s=self.now_s))
        if pod in self.reported and not (network and self.is_anothers(pod, network)):
            self.ended |= dict.fromkeys(self.reported.pop(pod), self.now_s)
            del self.network[pod]

    @rule(pod=PODS)
    def add_fails_in_the_kernel(self, pod):
        self.do(self.ledger.abandon(held_in(self.network.get(pod, ""), pod).sandbox, now_s=self.now_s))
        self.reported.pop(pod, None)
        self.network.pop(pod, None)

    @rule()
    def the_ledger_is_migrated_from_one_without_networks(self):
        self.ledger = Ledger(map(without_network, self.ledger.slots), dual=self.dual)
        self.network = dict.fromkeys(self.reported, "")

    @rule()
    def cooling_ends(self):
        self.do(self.ledger.cooled(now_s=self.now_s))
        next_at_s = self.ledger.next_cooled_at_s()
        assert next_at_s is None or next_at_s > self.now_s

    @precondition(lambda self: self.ledger.counts().free)
    @rule(data=st.data())
    def choose_to_release(self, data):
        free = [slot.address for slot in self.ledger.slots if slot.state is State.FREE]
        chosen = data.draw(st.lists(st.sampled_from(free), unique=True))
        self.do(self.ledger.release(chosen, now_s=self.now_s))
        assert not set(chosen) & self.all_told()

    @rule(
        shown=st.dictionaries(ADDRESSES, st.booleans()),
        attached=st.sets(ADDRESSES, max_size=2),
        settled=st.booleans(),
        renamed=st.booleans(),
        wide=ADDRESSES,
    )
    def read_the_nic(self, shown, attached, settled, renamed, wide):
        name = "azure-cni-{}" if not renamed else "renamed-{}"
        configs = [config(n, ready=ready, name=name.format(n)) for n, ready in shown.items() if n not in attached]
        configs = [  # one may hold the next address, too
            replace(one, size=2) if one.address == address(wide) and not {wide + 1} & {*shown, *attached} else one
            for one in configs
        ]
        excluded = tuple(ExcludedConfiguration(name.format(n), address(n), "serves somebody") for n in attached)
        nic = replace(view(configs, settled=settled), excluded=excluded, ipv6=self.ipv6)
        known = {slot.address: slot for slot in self.ledger.slots}
        observation = self.ledger.observe(nic, now_s=self.now_s)
        self.do(observation.change)
        name_of = {shown: one.name for one in configs for shown in one.addresses}
        self.on_nic = set(name_of)  # what pods may get
        remade = {one for one, name in name_of.items() if one not in known or known[one].config != name}
        self.ended = {a: ended_s for a, ended_s in self.ended.items() if a in self.on_nic - remade}
        assert all(slot.holder is not None for slot in self.ledger.slots if not slot.on_nic)
        usable_before = {slot.address for slot in known.values() if slot.state is not State.PROGRAMMING}
        assert not usable_before & set(observation.appeared)

    @invariant()
    def every_pod_keeps_what_it_was_told(self):
        held = {slot.address: slot.holder.sandbox for slot in self.ledger.slots if slot.holder}
        assert held == {
            one: held_in(self.network[pod], pod).sandbox for pod, given in self.reported.items() for one in given
        }
        for pod, given in self.reported.items():
            slots = self.ledger.holding(held_in("", pod).sandbox)
            assert [slot.address for slot in slots] == sorted(given)

    @invariant()
    def counts_sum(self):
        counts = self.ledger.counts()
        parts = counts.assigned + counts.free + counts.cooling + counts.programming + counts.releasing
        assert counts.allocated + counts.missing == parts == len(self.ledger.slots)
        assert counts.missing <= counts.assigned == sum(map(len, self.reported.values()))

    @invariant()
    def only_assigned_addresses_have_a_holder_or_are_off_the_nic(self):
        for slot in self.ledger.slots:
            assert (slot.holder is not None) == (slot.state is State.ASSIGNED)
            assert slot.in_pool or slot.state is State.ASSIGNED


LedgerMachine.TestCase.settings = settings(max_examples=400, stateful_step_count=30)
TestLedger = LedgerMachine.TestCase


SINGLES = tuple(
    IPv6Configuration(ConfigName(f"v6-{n}"), IPv6Network(f"fd00::{n + 16:x}"), ready=True) for n in range(3)
)
BLOCKS = tuple(
    IPv6Configuration(ConfigName(f"b-{n}"), IPv6Network(f"fd00::{n}:0/112"), ready=True, block=True) for n in (1, 2)
)
OF_IPV6 = st.sampled_from([(), BLOCKS[:1], BLOCKS[:1], BLOCKS[1:], SINGLES, (*BLOCKS[:1], *SINGLES)])


class DualLedgerMachine(LedgerMachine):
    """The same with IPv6 beside it, of which other tools and Azure may do anything."""

    dual = True
    ipv6 = BLOCKS[:1]

    def __init__(self) -> None:
        super().__init__()
        self.given = {}
        """What of IPv6 the pod on an address was wired with."""

    @rule(shown=OF_IPV6, ready=st.booleans())
    def ipv6_is_otherwise(self, shown, ready):
        self.ipv6 = tuple(replace(one, ready=ready) for one in shown)

    @invariant()
    def every_pod_has_both_for_as_long_as_it_lives(self):
        held = {slot.address: slot.ipv6 for slot in self.ledger.slots if slot.holder}
        assert all(held.values())
        assert all(held[one] == ipv6 for one, ipv6 in self.given.items() if one in held and one in self.all_told())
        self.given = held

    @invariant()
    def no_two_have_one(self):
        bound = [slot.ipv6 for slot in self.ledger.slots if slot.ipv6]
        assert len(bound) == len(set(bound))
        assert self.ledger.pairs() == {(slot.address, slot.ipv6) for slot in self.ledger.slots if slot.ipv6}

    @invariant()
    def what_is_free_is_whole(self):
        assert self.ledger.counts().free == sum(
            slot.state is State.FREE and slot.ipv6 is not None for slot in self.ledger.slots
        )


DualLedgerMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=30)
TestDualLedger = DualLedgerMachine.TestCase
