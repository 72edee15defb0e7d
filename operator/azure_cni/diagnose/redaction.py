"""Leaves out of texts what a report must not carry: names of tenants' pods and namespaces, identifiers, credentials.

A name is replaced by the same word everywhere (`pod-3`, `namespace-1`, `guid-7`), so that one can still follow one pod
through pools, logs and agents. It takes two steps: `learn*` all names first, then `text` and `value` replace them.
Rather a word too many is replaced than one too few: a pod called "web" takes that word from every message.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

LEFT_OUT: Final = "[left out]"
OPEN_NAMESPACES: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Of the cluster itself: their names and those of their pods stay."""
DEFAULT: Final = "default"
"""A namespace whose name says nothing; its pods are tenants' all the same."""

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_WORD: Final = re.compile(rf"{_LABEL}")
_QUALIFIED: Final = re.compile(rf"(?<![\w./-])({_LABEL})/({_LABEL}(?:\.{_LABEL})*)")
"""NAMESPACE/NAME, as messages have it."""
_FIELD: Final = re.compile(rf"\b(?:pod|holder)(?:=|\": ?\")({_LABEL})/({_LABEL}(?:\.{_LABEL})*)")
"""The same as a field of a log, in either form."""
_NAMESPACE: Final = re.compile(rf"\bnamespace(?:=|\": ?\")({_LABEL})")
"""A namespace alone, as such a field."""
_GUID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
_CREDENTIAL: Final = (
    r"(?:\bsig|\bauthorization|password|passwd|pwd|secret|assertion|token|"
    r"(?:access|account|api|shared|subscription)[_-]?key)"
)
"""How what a credential is called ends: of a variable (AZURE_CLIENT_SECRET) or a field (clientSecret), too."""
_SECRETS: Final = (
    (re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL), LEFT_OUT),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*"), LEFT_OUT),
    (re.compile(r"\b(Bearer|Basic|SharedKey)\s+[\w.~+/=:-]+", re.IGNORECASE), rf"\1 {LEFT_OUT}"),
    (re.compile(r"://[^/\s@\"']+@"), f"://{LEFT_OUT}@"),
    (re.compile(r"[\w.~-]{3}\dQ~[\w.~-]{31,34}"), LEFT_OUT),  # of an application in Entra ID
    (  # in quotes, all that is between them
        re.compile(rf"({_CREDENTIAL}\\?[\"']?\s*[=:]\s*)(\\?[\"'])(?:(?!\2).){{1,4096}}\2", re.IGNORECASE),
        rf"\1\2{LEFT_OUT}\2",
    ),
    (re.compile(rf"({_CREDENTIAL}\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s\"'&\\]+", re.IGNORECASE), rf"\1{LEFT_OUT}"),
)


class Redactor:
    """The names that were learnt, and what stands for each. `kept`: words that always stay, as nodes' names."""

    def __init__(self, *, open_namespaces: Collection[str] = (), kept: Collection[str] = ()) -> None:
        self._open = OPEN_NAMESPACES | set(open_namespaces)
        self._kept = frozenset(kept) | self._open | {DEFAULT}
        self._namespaces: dict[str, str] = {}
        self._pods: dict[str, str] = {}
        self._dotted: dict[str, str] = {}
        self._guids: dict[str, str] = {}

    @property
    def replaced(self) -> dict[str, int]:
        """How many names of each kind are known."""
        return {
            "pods": len(self._pods) + len(self._dotted),
            "namespaces": len(self._namespaces),
            "identifiers": len(self._guids),
        }

    def learn(self, namespace: str, name: str = "") -> None:
        """A tenant's namespace, and a pod of it."""
        if not namespace or namespace in self._open:
            return
        if namespace not in self._kept:
            self._namespaces.setdefault(namespace, f"namespace-{len(self._namespaces) + 1}")
        if name and name not in self._kept:
            known = self._dotted if "." in name else self._pods
            known.setdefault(name, f"pod-{len(self._pods) + len(self._dotted) + 1}")

    def learn_from(self, text: str) -> None:
        """Pods that a log or message names, and that may be gone since."""
        for namespace in _NAMESPACE.findall(text):
            self.learn(namespace)
        for namespace, name in _FIELD.findall(text):
            self.learn(namespace, name)
        for namespace, name in _QUALIFIED.findall(text):
            if namespace in self._namespaces or namespace == DEFAULT:
                self.learn(namespace, name)

    def text(self, text: str) -> str:
        """Without credentials, and with other words for names and GUIDs."""
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
        text = _GUID.sub(self._guid, text)
        for name, instead in self._dotted.items():
            text = text.replace(name, instead)
        return _WORD.sub(self._word, text)

    def value(self, value: Any) -> Any:
        """A document: each of its strings, and no key."""
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.value(one) for one in value]
            case dict():
                return {key: self.value(one) for key, one in value.items()}
            case _:
                return value

    def _guid(self, found: re.Match[str]) -> str:
        return self._guids.setdefault(found[0].lower(), f"guid-{len(self._guids) + 1}")

    def _word(self, found: re.Match[str]) -> str:
        word = found[0]
        return self._pods.get(word) or self._namespaces.get(word) or word
