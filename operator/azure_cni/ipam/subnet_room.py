"""What a subnet has shown of its room: how many addresses to ask of it next.

Azure does not say how many addresses a subnet has left, only whether a write fits as a whole. So what it refused is
remembered, and pods that wait get smaller and smaller growths until one fits. Where N are left and W are wanted that
takes about log3(W / N) refused writes, and after that the refused growth minus what was added bounds what can be left.

The last addresses of a subnet are for pods that wait, on whichever node: a node that only wants to keep some ready
asks for all of these or for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHARE: Final = 3
"""A growth after a refusal asks for this part of what was refused: 250 come down to 1 in six writes."""
STRIDE: Final = 4
"""A growth that fits where less was refused before shows that room came back: the next asks for so many times that."""


@dataclass(frozen=True, slots=True)
class SubnetRoom:
    """`refused`: a growth by so many did not fit, None if none was refused since the subnet had room for all.

    `most`: no more than that is asked for next, because as little as one address did not fit a while ago; None if
    nothing bounds it. Both count addresses.
    """

    refused: int | None = None
    most: int | None = None

    def next_add(self, wanted: int, *, needed: int) -> int:
        """How many to ask for, of `wanted`; pods wait for `needed` of these."""
        if needed <= 0:
            return wanted
        sizes = [wanted]
        if self.refused is not None:
            sizes += [needed, max(1, self.refused // SHARE)]
        if self.most is not None:
            sizes.append(self.most)
        return min(sizes)

    def after_refusal(self, add: int) -> SubnetRoom:
        """A growth by `add` did not fit: so did none by more."""
        return SubnetRoom(refused=add if self.refused is None else min(add, self.refused))

    def after_growth(self, add: int, *, wanted: int) -> SubnetRoom:
        """A growth by `add` fitted, where `wanted` would have been welcome."""
        if add >= wanted:
            return SubnetRoom()
        if self.refused is None or add >= self.refused:  # more room than it had when it refused
            return SubnetRoom(most=STRIDE * add)
        return SubnetRoom(refused=self.refused - add)
