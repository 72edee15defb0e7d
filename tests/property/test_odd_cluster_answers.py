"""What the API server, or whoever is in its place, answers; and what agents and pods say to the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from azure_cni.api.audit_reports import (
    AuditReport,
    UsageReport,
    WritesReport,
    decode_audit_report,
    decode_usage_report,
    decode_writes_report,
)
from azure_cni.api.introspection import NodeReport, decode_node_report, encode_report
from azure_cni.api.node_ip_pool import parse
from azure_cni.api.trace_reports import decode_trace_report
from azure_cni.azure.instance_document import parse_signature
from azure_cni.commands.refusals import document_of, refused_exec, require_success
from azure_cni.diagnose.network_checks import parse_outcomes
from azure_cni.host.install import versions_in
from azure_cni.kube.lean_answers import lean_event, lean_list
from azure_cni.kube.lean_objects import lean_namespace, lean_pod, lean_pool, own_pool
from azure_cni.kube.status_errors import from_status
from azure_cni.node.pods.demand import Demand
from fakes.simulated_node import pod_body
from property.odd_bytes import Boundary, walk
from property.test_odd_objects import POOL

NAMESPACE: Final = {"metadata": {"name": "a", "uid": "u", "annotations": {"azure-cni.io/egress": "pod"}}}
PODS: Final = (pod_body("web", ip="10.240.0.5"), pod_body("other", phase="Running"))
STATUS: Final = {
    "kind": "Status",
    "status": "Failure",
    "message": "nodes is forbidden",
    "reason": "Forbidden",
    "code": 403,
}
LISTS: Final = tuple({"kind": "List", "metadata": {"continue": ""}, "items": items} for items in ([*PODS], [POOL], []))
REPORTS: Final = (
    (NodeReport(node="vm1", conflicts=["a"]), decode_node_report),
    (AuditReport("vm1", "10.240.0.5"), decode_audit_report),
    (UsageReport("vm1", "2026-11-29T12:00:00Z"), decode_usage_report),
    (WritesReport("vm1"), decode_writes_report),
)
HANDSHAKE: Final = b"Handshake status 403 Forbidden -+-+- {'a': 'b'} -+-+- " + json.dumps(STATUS).encode()
PROBES: Final = b"0 0 200\n1 7 000 could not connect\n2 28 000 timed out\n"


class Stream:
    """An answer that comes in pieces."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._content, self._piece = content, piece

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), self._piece):
            yield self._content[start : start + self._piece]


def item(content: bytes, random: Random) -> None:
    """An object of a list, or of an event, as an agent or a controller keeps it."""
    lean = random.choice((lean_pod, lean_namespace, lean_pool, own_pool))
    found = lean(content)
    lean_event(b'{"type": "MODIFIED", "object": ' + content + b"}", lean)
    lean_event(content, lean)
    if found is None:
        return
    if lean is lean_pod:
        Demand().observe_pod(found)
    elif lean in {lean_pool, own_pool}:
        assert parse(found).view.request.number >= 0


def listed(content: bytes, random: Random) -> None:
    lean = random.choice((lean_pod, lean_pool))
    asyncio.run(lean_list(Stream(content, random.choice((1, 7, 65536))), lean))  # type: ignore[arg-type]


def refusal(content: bytes, random: Random) -> None:
    """What a refusal says, of any status, is an error in words."""
    document = document_of(content)
    raise from_status("GET", "/api/v1/pods", status=random.choice((400, 403, 404, 418, 429, 500, 599)), body=document)


def ended(content: bytes, _: Random) -> None:
    require_success("run a command", content, complained="")


def handshake(content: bytes, _: Random) -> None:
    raise refused_exec("ask the agent", content.decode(errors="replace"))


def report(content: bytes, random: Random) -> None:
    random.choice([decode for _, decode in REPORTS] + [decode_trace_report])(content)


def outcomes(content: bytes, _: Random) -> None:
    assert len(parse_outcomes(content.decode(errors="replace"), 3)) == 3


def versions(content: bytes, _: Random) -> None:
    """What a plugin answers to VERSION; it may not be ours."""
    assert all(isinstance(one, str) for one in versions_in(content, Path("/opt/cni/bin/azure-cni")))


def attested(content: bytes, _: Random) -> None:
    parse_signature(content)


def encoded(*documents: Any) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


BOUNDARIES: Final = {
    "objects": Boundary(encoded(*PODS, NAMESPACE, POOL), item, ()),
    "lists": Boundary(encoded(*LISTS), listed, (ValueError,)),
    "refusals": Boundary(encoded(STATUS), refusal),
    "ended-commands": Boundary(encoded({"status": "Success"}, STATUS), ended),
    "handshakes": Boundary([HANDSHAKE], handshake, is_json=False),
    "agents-reports": Boundary([encode_report(one) for one, _ in REPORTS], report),
    "probes": Boundary([PROBES], outcomes, (), is_json=False),
    "plugin-versions": Boundary(encoded({"cniVersion": "1.1.0", "supportedVersions": ["0.3.0", "1.1.0"]}), versions),
    "attested-documents": Boundary(encoded({"encoding": "pkcs7", "signature": "MIIB"}), attested),
}
COUNTS: Final = {"lists": 500}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_what_is_odd_is_read_or_refused_in_words(name: str) -> None:
    count = COUNTS.get(name, 6000)
    ends = walk(name, BOUNDARIES[name], count, seed=1)
    assert ends.total() == count
