"""A list of the resource manager that comes in pages: how many there may be, and how large they are together.

Whoever answers in Azure's place can make pages without end, and each may be as large as any document. What is kept of
them is in the memory of the process that wires pods.
"""

from __future__ import annotations

from typing import Final

import msgspec

from azure_cni.azure import errors_map
from azure_cni.azure.answers import LARGEST_DOCUMENT, ArmAnswer, Document
from azure_cni.errors import CloudUnreachable

MOST_PAGES: Final = 300
"""Of one list; a VNet has at most 3,000 subnets (Azure subscription limits, networking)."""


class _Page(msgspec.Struct):
    value: list[Document]
    next_link: str | None = msgspec.field(default=None, name="nextLink")


class PagedList:
    """Takes one page after the other; `what` says what is done, for errors (`read usages of VNet vnet`)."""

    def __init__(self, what: str) -> None:
        self.documents: list[Document] = []
        self._what = what
        self._pages = self._bytes = 0

    def take(self, answer: ArmAnswer) -> str | None:
        """Add a page's documents; returns the link of the next page, if there is one.

        CloudUnreachable: it is no page, or there are too many, or they are together larger than a document may be.
        """
        self._pages += 1
        self._bytes += len(answer.content)
        if self._bytes > LARGEST_DOCUMENT:
            raise errors_map.too_large(self._what, LARGEST_DOCUMENT)
        page = answer.shaped(_Page)
        if page is None:
            raise errors_map.not_understood(self._what, answer, wanted="a list of documents")
        self.documents += page.value
        if page.next_link and self._pages == MOST_PAGES:
            raise CloudUnreachable(f"cannot {self._what}: the answer does not end within {MOST_PAGES} pages")
        return page.next_link
