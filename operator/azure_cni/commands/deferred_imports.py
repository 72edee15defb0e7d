"""Loads a package without the libraries that it imports and hardly ever uses; the first use of one loads it.

`kubernetes` imports oauthlib and requests for the renewal of OIDC tokens, pydantic for models that no command asks for,
and its own watches, elections and informers. That is 0.15 s of the 0.29 s of CPU time that it takes to import
(CPython 3.11.7), which a person waits for at each command.

While `deferred` lasts, such a module has a stand-in, and what is imported from it is a `Later`. Both find the real
thing when they are called or asked for an attribute, so that all works as without them, with one exception: no class
can be derived from a `Later`. A module in which that happens is deferred as a whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class Later:
    """What a module that is not loaded yet calls `name`."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **named: Any) -> Any:
        """As the real one."""
        return self._real()(*args, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __instancecheck__(self, instance: object) -> bool:
        """Nothing is an instance of a class that was not loaded."""
        return self._module in sys.modules and isinstance(instance, self._real())

    def __getitem__(self, _: object) -> Later:
        """In annotations, which nobody evaluates."""
        return self

    def _real(self) -> Any:
        module = import_module(self._module)
        try:
            return getattr(module, self._name)
        except AttributeError:
            return import_module(f"{self._module}.{self._name}")


class StandIn(ModuleType):
    """A module that is not loaded."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Later(self.__name__, name)


@contextmanager
def deferred(modules: Sequence[str]) -> Iterator[None]:
    """While the block runs, who imports one of these gets a stand-in, unless it is loaded."""
    absent = [name for name in modules if name not in sys.modules]
    sys.modules.update({name: StandIn(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
