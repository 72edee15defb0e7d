"""The API server's word on tokens, in memory: `kube.reviews.KubeReviews` without a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from azure_cni.errors import KubeError
from azure_cni.kube.reviews import User


@dataclass
class Account:
    """Whose a token is. `may`: pairs of verb and path; `audiences`: for whom the token is good."""

    name: str
    may: set[tuple[str, str]] = field(default_factory=set)
    audiences: set[str] = field(default_factory=lambda: {""})


class FakeReviews:
    """Answers as the API server does, to one audience; keeps what it was asked."""

    def __init__(self, *, audience: str = "") -> None:
        self.accounts: dict[str, Account] = {}
        """By token."""
        self.failure: KubeError | None = None
        """Raised instead of an answer."""
        self.go = asyncio.Event()
        """Answers wait for it."""
        self.go.set()
        self.asked: list[str] = []
        """`token` for each TokenReview, `user verb path` for each SubjectAccessReview."""
        self._audience = audience

    async def authenticate(self, token: str) -> User | None:
        """See `KubeReviews`."""
        await self._answer(token)
        account = self.accounts.get(token)
        if account is None or self._audience not in account.audiences:
            return None
        return User(account.name, {"username": account.name})

    async def authorize(self, user: User, *, verb: str, path: str) -> bool:
        """See `KubeReviews`."""
        await self._answer(f"{user.name} {verb} {path}")
        return any((verb, path) in account.may for account in self.accounts.values() if account.name == user.name)

    async def _answer(self, asked: str) -> None:
        self.asked.append(asked)
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
