"""`azure-cni check -f` of custom resources as `v1beta1`, which the API server serves where the chart has it do so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from azure_cni.entrypoints.cli import main

POOL = "apiVersion: azure-cni.io/%s\nkind: NodeIPPool\nmetadata: {name: vm1}\nspec:\n"
VNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
QUOTA = f"apiVersion: azure-cni.io/%s\nkind: VNetQuota\nmetadata: {{name: v}}\nspec:\n  vnetID: {VNET}\n"
LISTED = (
    "apiVersion: v1\nkind: List\nitems:\n- apiVersion: azure-cni.io/%s\n  kind: NodeIPPool\n  metadata: {name: a}\n"
)
SERVED = "crds:\n  storedVersion: v1beta1\n"
NOT_SERVED = "mode: bridge\n"
UNKNOWN = "whether the API server serves version v1beta1"


@pytest.fixture(autouse=True)
def without_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/directory")


def faults(directory: Path, manifest: str, values: str = "") -> tuple[list[tuple[int, str]], bool]:
    """Line and words of each fault of the manifest, and whether it is open if its version is served."""
    files = {"pool.yaml": manifest} | ({"values.yaml": values} if values else {})
    words = ["check", "-o", "json"]
    for name, content in files.items():
        (directory / name).write_text(content)
        words += ["-f", str(directory / name)]
    done = CliRunner().invoke(main, words, env={"KUBECONFIG": "/no/such/file"}, catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert done.exit_code == (1 if answer["faults"] else 3 if answer["unchecked"] else 0)
    assert all(one["file"] == str(directory / "pool.yaml") for one in answer["faults"])
    found = [(one["line"], f"{one['path']}: {one['message']}") for one in answer["faults"]]
    return found, any(one.startswith(UNKNOWN) for one in answer["unchecked"])


@pytest.mark.parametrize(
    "manifest",
    [
        POOL + "  minFree: 4\n",
        POOL + "  minFre: 3\n",
        POOL + "  size: 251\n",
        POOL + "  minFree: 8\n  maxFree: 20\n",
        QUOTA + "  limit: 5\n",
        QUOTA + "  limit: 0\n",
        LISTED + "  spec: {max: 0}\n",
    ],
)
def test_where_values_serve_it_it_is_judged_as_the_version_before(tmp_path: Path, manifest: str):
    found, unknown = faults(tmp_path, manifest % "v1beta1", SERVED)
    assert (found, unknown) == faults(tmp_path, manifest % "v1alpha1", SERVED)
    assert not unknown


@pytest.mark.parametrize(("manifest", "line"), [(POOL + "  {}\n", 1), (QUOTA, 1), (LISTED, 4)])
def test_where_values_do_not_serve_it_that_is_a_fault(tmp_path: Path, manifest: str, line: int):
    (((found, words),), unknown) = faults(tmp_path, manifest % "v1beta1", NOT_SERVED)
    assert (found, unknown) == (line, False)
    assert words.removeprefix("items.0.") == (
        "apiVersion: with these values the API server does not serve v1beta1: set crds.storedVersion to v1beta1, or "
        "write v1alpha1 here"
    )
    assert faults(tmp_path, manifest % "v1alpha1", NOT_SERVED) == ([], False)


def test_without_values_its_fields_are_judged_and_the_answer_says_what_is_not_known(tmp_path: Path):
    assert faults(tmp_path, POOL % "v1beta1" + "  max: 0\n") == (
        [(5, "spec.max: it is 0, and must be at least 1")],
        True,
    )
    assert faults(tmp_path, POOL % "v1beta1" + "  max: 9\n") == ([], True)
    assert faults(tmp_path, POOL % "v1alpha1" + "  max: 9\n") == ([], False)


def test_a_version_that_the_definition_does_not_have_is_a_fault_whatever_the_values(tmp_path: Path):
    for values in ("", SERVED, NOT_SERVED):
        (((_, words),), unknown) = faults(tmp_path, POOL % "v1" + "  {}\n", values)
        assert (words, unknown) == ('apiVersion: NodeIPPool has no version "v1": there is v1alpha1, v1beta1', False)
