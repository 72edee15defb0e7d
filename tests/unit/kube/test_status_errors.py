"""Which error an answer of the API server is."""

from __future__ import annotations

import pytest

from azure_cni.errors import KubeConflict, KubeDenied, KubeError, KubeInvalid, KubeNotFound, KubeUnreachable
from azure_cni.kube.status_errors import from_status


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "no", KubeInvalid),
        (403, "no", KubeDenied),
        (404, "no", KubeNotFound),
        (409, "no", KubeConflict),
        (413, "no", KubeInvalid),
        (429, "later", KubeUnreachable),
        (500, "etcdserver: request timed out", KubeUnreachable),
        (500, "etcdserver: request is too large", KubeInvalid),
        (500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2296614 vs. 2097152)",
         KubeInvalid),
        (503, "", KubeUnreachable),
    ],
)  # fmt: skip
def test_an_object_that_etcd_never_takes_is_no_outage(status: int, message: str, kind: type[KubeError]):
    error = from_status("PATCH", "/x", status=status, body={"message": message})
    assert type(error) is kind
    assert f"cannot patch /x: {message or 'no reason given'} (HTTP {status})" in str(error)
