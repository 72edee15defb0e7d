"""A small API server over real HTTP: the rules that clients of a few kinds meet, and what goes wrong with it.

    api = FakeKubeAPI()
    api.put(NODES, "vm1")
    async with api.serve() as url:
        ...

What it keeps: bearer tokens; verbs that a token may not use (403); names that exist (409) or do not (404); the status
subresource, which changes nothing but status and which nothing else changes; merge patches with their content type;
resourceVersion as a compare-and-swap; discovery; lists, whole or in pages; watches, which begin after a version and
miss no change; field selectors; validation of events (namespace), of a pool's `max` and of the sum of a quota's grants;
a Status for each error. Left out: label selectors, bookmarks, finalizers, every other verb. History is kept whole, so
no version is too old to watch from. The contract suite runs on it and on a real API server alike.
"""

from fakes.kubeapi.resources import EVENTS, NAMESPACES, NODES, PODS, POOLS, QUOTAS
from fakes.kubeapi.server import TOKEN, FakeKubeAPI

__all__ = ["EVENTS", "NAMESPACES", "NODES", "PODS", "POOLS", "QUOTAS", "TOKEN", "FakeKubeAPI"]
