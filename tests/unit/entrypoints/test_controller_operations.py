"""A controller that writes NICs: whom it trusts for attested documents, and what other controllers leave out."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from azure_cni.cluster.possession import Required
from azure_cni.entrypoints import controller_settings
from azure_cni.entrypoints.controller import Controller
from azure_cni.errors import NotAttested
from azure_cni.kube.client import KubeEndpoint
from fakeazure import FakeAzure

LEAST = {"AZURE_CNI_POD_NAME": "x", "AZURE_CNI_NAMESPACE": "kube-system", "AZURE_CNI_METRICS_BIND": "loopback"}
NONCE = "0123456789"

PROGRAM = """
import sys
sys.path[:0] = {path!r}
import azure_cni.entrypoints.controller
print(*({{"azure_cni.azure.attestations", "azure_cni.azure.signed_data"}} & set(sys.modules)))
"""


@pytest.fixture
def document() -> tuple[str, bytes]:
    """A document of a VM, and the authorities behind it."""
    attester = FakeAzure().attester
    return attester.document("guid", "", nonce=NONCE, now=time.time()), attester.bundle


async def test_the_bundle_of_the_values_is_trusted_and_no_other(document: tuple[str, bytes], tmp_path: Path) -> None:
    signed, bundle = document
    file = tmp_path / "ca.crt"
    file.write_bytes(bundle)
    chosen = {"AZURE_CNI_ATTESTATION": "always", "AZURE_CNI_ATTESTATION_CA_FILE": str(file)}
    for more, trusted in ((chosen, True), ({}, False)):
        settings = controller_settings.read({**LEAST, **more, "AZURE_CNI_NIC_WRITER": "controller"})
        controller = Controller(settings, endpoint=KubeEndpoint("http://127.0.0.1:9", token=""))
        async with controller._closing:
            controller._build()
            claims = controller._executor()._claims
            assert claims._required is (Required.ALWAYS if trusted else Required.WITHOUT_PROVIDER_ID)
            if trusted:
                await claims._attestations.verify(signed, nonce=NONCE, vm_id="guid")
                continue
            with pytest.raises(NotAttested, match="is missing; put it into"):
                await claims._attestations.verify(signed, nonce=NONCE, vm_id="guid")


def test_a_controller_that_writes_no_nic_loads_nothing_that_verifies_documents() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(path=sys.path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
