"""Whatever pods, Azure and people do in whatever order, the ledger never gives one address to two."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from azure_cni.api.nic import ExcludedConfiguration
from azure_cni.errors import NoAddress
from azure_cni.ipam.ledger import Change, Ledger, State
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from unit.ipam.views import address, config, holder, view

PODS, ADDRESSES = st.integers(0, 5), st.integers(0, 2)  # few, so that they meet


class LedgerMachine(RuleBasedStateMachine):
    """The ledger beside a plain model: what each pod was told, and when an address was last used."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.now_s = 1000.0
        self.told = {}  # pod -> address
        self.ended = {}  # address -> when its last pod ended, while it has been on the NIC since
        self.on_nic = set()

    def do(self, change: Change):
        self.ledger.apply(change)
        # What a restarted agent loads is the same ledger, after every single change.
        assert Ledger(self.ledger.slots).slots == self.ledger.slots

    @rule(seconds=st.floats(0.0, 200.0))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule(pod=PODS, at_limit=st.booleans())
    def add(self, pod, at_limit):
        before = self.ledger.counts()
        try:
            self.do(self.ledger.assign(holder(pod), now_s=self.now_s, at_limit=at_limit))
        except NoAddress:
            assert before.free == 0
            assert pod not in self.told
            return
        given = self.ledger.holding(holder(pod).sandbox).address
        if pod in self.told:
            assert given == self.told[pod]
            return
        assert given not in self.told.values()
        assert given in self.on_nic
        rest_s = COOLING_AT_LIMIT_S if at_limit and not before.free else COOLING_S
        assert self.now_s - self.ended.pop(given, -1e9) >= rest_s
        self.told[pod] = given

    @rule(pod=PODS)
    def delete(self, pod):
        self.do(self.ledger.unassign(holder(pod).sandbox, now_s=self.now_s))
        if pod in self.told:
            self.ended[self.told.pop(pod)] = self.now_s

    @rule(pod=PODS)
    def add_fails_in_the_kernel(self, pod):
        self.do(self.ledger.abandon(holder(pod).sandbox, now_s=self.now_s))
        self.told.pop(pod, None)

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
        assert not set(chosen) & set(self.told.values())

    @rule(
        shown=st.dictionaries(ADDRESSES, st.booleans()),
        attached=st.sets(ADDRESSES, max_size=2),
        settled=st.booleans(),
        renamed=st.booleans(),
    )
    def read_the_nic(self, shown, attached, settled, renamed):
        name = "azure-cni-{}" if not renamed else "renamed-{}"
        configs = [config(n, ready=ready, name=name.format(n)) for n, ready in shown.items() if n not in attached]
        excluded = tuple(ExcludedConfiguration(name.format(n), address(n), "serves somebody") for n in attached)
        nic = replace(view(configs, settled=settled), excluded=excluded)
        known = {slot.address: slot for slot in self.ledger.slots}
        observation = self.ledger.observe(nic, now_s=self.now_s)
        self.do(observation.change)
        self.on_nic = {one.address for one in configs}  # what pods may get
        anew = {one.address for one in configs if one.address not in known or known[one.address].config != one.name}
        self.ended = {a: ended_s for a, ended_s in self.ended.items() if a in self.on_nic - anew}
        assert {slot.address for slot in observation.lost} == {
            slot.address for slot in self.ledger.slots if not slot.on_nic
        }
        usable_before = {slot.address for slot in known.values() if slot.state is not State.PROGRAMMING}
        assert not usable_before & set(observation.appeared)

    @invariant()
    def every_pod_keeps_what_it_was_told(self):
        held = {slot.holder.sandbox: slot.address for slot in self.ledger.slots if slot.holder}
        assert held == {holder(pod).sandbox: given for pod, given in self.told.items()}
        assert len(set(held.values())) == len(held)

    @invariant()
    def counts_sum(self):
        counts = self.ledger.counts()
        parts = counts.assigned + counts.free + counts.cooling + counts.programming + counts.releasing
        assert counts.allocated + counts.lost == parts == len(self.ledger.slots)
        assert counts.lost <= counts.assigned == len(self.told)

    @invariant()
    def only_assigned_addresses_have_a_holder_or_are_off_the_nic(self):
        for slot in self.ledger.slots:
            assert (slot.holder is not None) == (slot.state is State.ASSIGNED)
            assert slot.in_pool or slot.state is State.ASSIGNED


LedgerMachine.TestCase.settings = settings(max_examples=400, stateful_step_count=30, deadline=None)
TestLedger = LedgerMachine.TestCase
