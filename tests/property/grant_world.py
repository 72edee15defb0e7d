"""A world small enough to be walked through whole: two nodes, two controllers, the API server, Azure.

What is decided, the product decides (`Rules` holds its functions, and tests put broken ones in their place). What is
modelled here is what surrounds the decisions, and all that can go wrong with it:

- A node's requests reach the API server late, never, or after the agent that sent them is gone. Each is a
  compare-and-swap, so it fails once the pool has changed. The agent acts on its pool as it was at any time since.
- A NIC write lands at any time or never, also after its agent is gone; once one has landed the others fail (etag), and
  only then does an agent know that nothing is under way any more.
- A controller acts on a pool, or on a ledger, that it read at any time before. What its compare-and-swap guards is as
  it was read, so it may as well be read at the instant of the write. If the other one is as it was read too, nothing
  need be remembered, and there may be any number of such controllers. Two more remember what is so no longer, or stand
  between the two writes of a `TakeBack`. Entries written together are as good as entries written one by one.
- Everyone may stop at every point, forget, and begin again.
- A node may go, with its pool and its NIC (what was under way to either fails), and come back under its name with a new
  pool and an empty NIC of the same name. While it is away a controller finds pool and NIC gone, and takes its entry out
  of the ledger: at once, or when the node is back already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from azure_cni.api.node_ip_pool import Request
from azure_cni.ipam import grants
from azure_cni.ipam.grants import Answer, Decision, PoolView, QuotaEntry, TakeBack


@dataclass(frozen=True)
class Rules:
    """The product's decisions, and what the API server guards. Tests break one at a time."""

    first_request: Callable[[Request], Request] = grants.first_request
    next_request: Callable[..., Request] = grants.next_request
    is_superseded: Callable[..., bool] = grants.is_superseded
    left_in_flight: Callable[[PoolView], int] = grants.left_in_flight
    usable: Callable[[Request, PoolView], int] = grants.usable
    ceiling: Callable[..., int] = grants.ceiling
    decide: Callable[..., Decision] = grants.decide
    requests_guarded: bool = True
    """A request is written by compare-and-swap."""
    take_back_guarded: bool = True
    """The ledger's part of a `TakeBack` is a compare-and-swap on the version that it was decided from."""
    sum_guarded: bool = True
    """The API server refuses a ledger over the limit."""
    numbers_go_on: bool = True
    """The numbers of a node that comes back are others than before (`api.node_ip_pool`)."""
    reclaim_guarded: bool = True
    """An entry leaves the ledger by a compare-and-swap on the version that was read before its node was found gone.

    Else it leaves when it looks as it was read, whatever was written to the ledger in between.
    """

    @property
    def are_ours(self) -> bool:
        """The controller's rules are not broken: then what cannot lead to a write need not be followed."""
        return self.decide is grants.decide


@dataclass(frozen=True)
class Size:
    """How large the world is: `numbers` bounds the request numbers of each node, and with them asks and restarts."""

    limit: int = 2
    per_node: int = 2
    numbers: tuple[int, int] = (3, 2)
    mortal: bool = False
    """Nodes go and come back."""


class Node(NamedTuple):
    """A node, its pool object and its NIC."""

    pool: PoolView
    nic: int = 0
    flying: frozenset[int] = frozenset()
    """What the NIC would hold after each write that may still land."""
    mine: Request | None = None
    """The newest request that the agent tried to write; None while no agent runs."""
    in_flight: int = 0
    """What the agent believes could still land, at most."""
    may: int = 0
    """What the agent may use, by the pool as it last saw it."""
    late: Request | None = None
    """A request of an earlier moment that may still arrive at the API server."""
    gone: bool = False
    """The node is deleted: there is neither pool nor NIC."""
    past: int = 0
    """The highest number that was asked for under this name before the node went."""

    @property
    def last(self) -> Request:
        """Where an agent begins."""
        request = self.pool.request
        return request if request.number else Request(0, self.past)

    @property
    def most(self) -> int:
        """What the NIC holds or could come to hold."""
        return max(self.nic, *self.flying) if self.flying else self.nic


def first_node() -> Node:
    """Nothing held, nothing asked; an agent runs and has written its first request."""
    nothing = Request(0, 1)
    return Node(PoolView(nothing, granted=0, granted_for=1, allocated=0), mine=nothing)


NO_POOL = PoolView(Request(0, 0), granted=0, granted_for=0, allocated=0)
"""What is seen of a pool that is gone, and of one that no agent has written yet."""

NO_ENTRY = QuotaEntry()


# A node's moves.


def node_moves(node: Node, rules: Rules, *, highest: int, most: int, mortal: bool) -> Iterator[tuple[str, Node]]:
    """All that can happen to a node alone. `highest` bounds its request numbers, `most` its wants."""
    if not node.gone:
        yield from _life(node, rules, highest=highest, most=most)
        if mortal:
            yield "is deleted, its NIC too", deleted(node, rules)


def _life(node: Node, rules: Rules, *, highest: int, most: int) -> Iterator[tuple[str, Node]]:
    for count in node.flying:
        yield f"write to {count} lands", _quiet(node)._replace(nic=count)
    if node.flying or node.in_flight:
        yield "NIC is written as it is, or its write fails", _quiet(node)
    if node.late is not None:
        yield f"late request {_words(node.late)} arrives", _request_arrives(node, node.late, rules)
    if node.mine is None:
        mine = rules.first_request(node.last)
        if mine.number <= highest:
            believed = _believed(rules.left_in_flight(node.pool), node.nic)
            yield f"agent starts as {_words(mine)}", node._replace(mine=mine, in_flight=believed)
        return
    yield from _request_moves(node, node.mine, rules, highest=highest, most=most)
    yield from _nic_moves(node)
    if node.pool.allocated != node.nic:
        yield f"reports {node.nic} allocated", _pool_written(node, replace(node.pool, allocated=node.nic), rules)
    for late in _late(node, node.mine, rules):
        yield "agent dies", node._replace(mine=None, may=0, in_flight=0, late=late)


def _request_moves(node: Node, mine: Request, rules: Rules, *, highest: int, most: int) -> Iterator[tuple[str, Node]]:
    superseded = rules.is_superseded(mine, shown=node.pool.request)
    for wanted in range(most + 1):
        asked = rules.next_request(mine, wanted=wanted, on_nic=node.nic, in_flight=node.in_flight)
        if asked != mine and asked.number <= highest:
            for late in _late(node, mine, rules):
                yield f"wants {wanted}, asks {_words(asked)}", node._replace(mine=asked, may=0, late=late)
    if superseded and rules.first_request(node.pool.request).number <= highest:
        again = rules.first_request(node.pool.request)
        yield f"finds another's request, begins again as {_words(again)}", node._replace(mine=again, may=0)
    elif not superseded and node.pool.request != mine:
        yield f"request {_words(mine)} arrives", _request_arrives(node, mine, rules)
    usable = rules.usable(mine, node.pool)
    if usable != node.may:
        yield f"sees its pool: may use {usable}", node._replace(may=usable)


def _nic_moves(node: Node) -> Iterator[tuple[str, Node]]:
    for count in range(max(node.nic, node.may) + 1):
        if count != node.nic and count not in node.flying and len(node.flying) < 2:
            believed = _believed(max(count, node.in_flight), node.nic)
            yield f"writes NIC to {count}", node._replace(flying=node.flying | {count}, in_flight=believed)


def deleted(node: Node, rules: Rules) -> Node:
    """Whatever was under way finds nothing."""
    asked = [request.number for request in (node.pool.request, node.mine, node.late) if request is not None]
    past = max(node.past, *asked) if rules.numbers_go_on else 0
    return Node(NO_POOL, gone=True, past=past)


def came_back(node: Node) -> Node:
    """A new NIC, a new pool; no agent has said anything yet."""
    return Node(NO_POOL, past=node.past)


def _renumbered(request: Request, by: int) -> Request:
    return Request(request.count, request.number + by)


def _late(node: Node, mine: Request, rules: Rules) -> set[Request | None]:
    """What may still be under way when the agent asks again or dies: one request at most is followed, either one."""
    under_way = node.pool.request != mine and not rules.is_superseded(mine, shown=node.pool.request)
    return {node.late, mine} if under_way else {node.late}


def _quiet(node: Node) -> Node:
    """The NIC changed, so nothing that was sent before can land any more; and the agent, if one runs, sees it."""
    return node._replace(flying=frozenset(), in_flight=0)


def _believed(count: int, nic: int) -> int:
    """The belief that matters: what is no more than the NIC holds is covered by what the NIC holds."""
    return count if count > nic else 0


def _request_arrives(node: Node, request: Request, rules: Rules) -> Node:
    late = None if node.late == request else node.late
    pool = replace(node.pool, request=request)
    return _pool_written(node._replace(late=late), pool, rules)


def _pool_written(node: Node, pool: PoolView, rules: Rules) -> Node:
    """A pool that changed has a new resourceVersion: what was guarded by the old one fails from now on."""
    if pool == node.pool:
        return node
    return node._replace(pool=pool, late=None if rules.requests_guarded else node.late)


def towards(node: Node, wanted: int, rules: Rules) -> Node:
    """What an agent that nobody disturbs makes of its node before it must wait for an answer."""
    if node.gone:
        return node
    mine = node.mine
    if mine is None or rules.is_superseded(mine, shown=node.pool.request):
        mine = rules.first_request(node.last)
    nic = min(node.nic, wanted) if node.pool.request == mine else node.nic
    mine = rules.next_request(mine, wanted=wanted, on_nic=nic, in_flight=0)
    nic = max(nic, min(wanted, rules.usable(mine, node.pool)))
    return Node(replace(node.pool, request=mine, allocated=nic), nic, mine=mine, past=node.past)


def at_rest(node: Node, entry: QuotaEntry) -> tuple[Node, QuotaEntry]:
    """All that matters once nothing is under way; only the order of request numbers does, so they start again."""
    number = node.pool.request.number
    if not number:  # no agent has written the pool, or there is none
        return node, entry
    by = 10 - number
    pool = replace(node.pool, request=_renumbered(node.pool.request, by), granted_for=node.pool.granted_for + by)
    mine = None if node.mine is None else _renumbered(node.mine, by)
    return Node(pool, node.nic, mine=mine), QuotaEntry(entry.count, entry.request_id + by)


def is_quiet(node: Node) -> bool:
    """Nothing of the node is under way."""
    return not node.flying and node.late is None


def answered(node: Node, answer: Answer, rules: Rules) -> Node:
    """The pool with the answer."""
    pool = replace(node.pool, granted=answer.granted, granted_for=answer.granted_for)
    return _pool_written(node, pool, rules)


def taken_back(node: Node, back: TakeBack, rules: Rules) -> Node:
    """The pool after the first of the two writes."""
    return _pool_written(node, replace(node.pool, granted=back.granted), rules)


def _words(request: Request) -> str:
    return f"#{request.number} for {request.count}"
