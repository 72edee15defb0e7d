"""`azure-cni check -f`: values, manifests and conflists without a cluster; each fault with its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from azure_cni.commands import chart_files
from azure_cni.entrypoints.cli import main
from unit.chart.helm import CHART, helm

POOL = "apiVersion: azure-cni.io/v1alpha1\nkind: NodeIPPool\nmetadata: {name: vm1}\nspec:\n"
NO_CLUSTER = {"KUBECONFIG": "/no/such/file"}


@pytest.fixture
def with_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(helm()).parent), prepend=":")


@pytest.fixture
def without_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/directory")


def check(*words: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, words)], env=NO_CLUSTER, catch_exceptions=False)


def lint(directory: Path, content: str, *words: str) -> list[tuple[int, str]]:
    """Line and words of each fault. The exit code agrees with them."""
    file = directory / "file.yaml"
    file.write_text(content)
    done = check("-f", file, "-o", "json", *words)
    answer = json.loads(done.stdout)
    assert done.exit_code == (1 if answer["faults"] else 3 if answer["unchecked"] else 0)
    assert all(one["file"] == str(file) for one in answer["faults"])
    return [(one["line"], f"{one['path']}: {one['message']}") for one in answer["faults"]]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("pool:\n  max: 300\n", 2, "pool.max: it is 300, and must be at most 250"),
        ("pool:\n  minFree: 8\n  minfree: 4\n", 3, 'pool.minfree: unknown key "minfree": did you mean "minFree"?'),
        ("pools: {}\n", 1, 'pools: unknown key "pools": did you mean "pool"?'),
        ("mode: bridge\npool:\n  batch: many\n", 3, "pool.batch: it is a string 'many', and must be integer"),
        ("mode: overlay\n", 1, "mode: it is 'overlay', and must be one of 'transparent', 'bridge'"),
        ("pool:\n  batch: 8\n  batch: 4\n", 3, 'the key "batch" is there twice'),
        ("pool: [\n", 2, "it is no YAML"),
        ("- a list\n", 1, "its top is no mapping"),
        ("mode: null\n", 1, "it needs mode"),
        ("controller:\n  enabled: 'yes'\n", 2, "controller.enabled: it is a string 'yes', and must be boolean"),
    ],
)
def test_values_are_judged_by_the_charts_own_schema(tmp_path: Path, content: str, line: int, said: str):
    ((found, words),) = lint(tmp_path, content)
    assert (found, said in words) == (line, True), words


@pytest.mark.usefixtures("with_helm")
@pytest.mark.parametrize("tag", ["2026-11-28", "2026-11-28T06:00:00Z", "1:30", "12:30:45.5"])
def test_what_looks_like_a_date_or_a_time_is_a_string_as_for_helm(tmp_path: Path, tag: str):
    assert lint(tmp_path, f"image:\n  tag: {tag}\n") == []


@pytest.mark.usefixtures("with_helm")
def test_what_an_anchor_overrides_is_not_there_twice_where_it_is_named_again(tmp_path: Path):
    merged = "a: &a {minFree: 4}\nb: &b\n  <<: *a\n  minFree: 8\nc: *b\n"
    assert [words for _, words in lint(tmp_path, merged) if "twice" in words] == []
    twice = "a: &a {minFree: 4}\nb: &b\n  <<: *a\n  minFree: 8\n  minFree: 9\nc: *b\n"
    assert [line for line, words in lint(tmp_path, twice) if "twice" in words] == [5, 5]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("mode: bridge\npool:\n  minFree: 8\n  maxFree: 20\n", 4,
         ("pool.maxFree: pool.maxFree is 20 but must be at least pool.minFree + pool.batch = 24, or pools would shrink "
         "and grow in turns")),
        ("nicWriter: controller\ncontroller: {enabled: false}\n", 2,
         "controller.enabled: nicWriter is controller, which needs controller.enabled"),
        ("metrics:\n  auth: token\n", 2, "metrics.auth: metrics.auth is token, which needs metrics.tls.enabled"),
        ("mode: bridge\n---\npool: {}\n", 1, "a values file must have one document"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("with_helm")
def test_values_are_judged_by_the_charts_own_sentences(tmp_path: Path, content: str, line: int, said: str):
    found = lint(tmp_path, content)
    assert found[0][0] == line
    assert said in found[0][1]
    assert "--debug" not in found[0][1]


@pytest.mark.usefixtures("with_helm")
def test_files_in_which_nothing_is_wrong():
    conflist = CHART / "values.yaml"
    done = check("-f", conflist, "-f", CHART / "files" / "crds" / "azure-cni.io_nodeippools.yaml")
    assert (done.exit_code, done.stdout.count("√")) == (0, 2)


@pytest.mark.usefixtures("without_helm")
def test_without_helm_it_says_which_rules_were_not_checked(tmp_path: Path):
    file = tmp_path / "values.yaml"
    file.write_text("pool: {maxFree: 20}\n")
    done = check("-f", file)
    assert done.exit_code == 3
    assert "not checked: rules of the chart that compare values: helm is not installed" in done.stdout
    assert lint(tmp_path, "pool: {max: 0}\n")[0][0] == 1


def test_helm_that_fails_in_another_way_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "helm"
    broken.write_text("#!/bin/sh\necho 'Error: no such flag' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "values.yaml").write_text("mode: bridge\n")
    done = check("-f", tmp_path / "values.yaml")
    assert done.exit_code == 2
    assert "cannot evaluate the chart's templates" in done.stderr
    assert "no such flag" in done.stderr


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (POOL + "  minFre: 3\n", 5, 'spec.minFre: unknown key "minFre": did you mean "minFree"?'),
        (POOL + "  size: 251\n", 5, "spec.size: it is 251, and must be at most 250"),
        (POOL + "  size: 20\n  batch: 4\n", 4, "a fixed size excludes them"),
        (POOL + "  minFree: 8\n  maxFree: 20\n", 4, "it must be at least minFree + batch (8 + 16)"),
        (POOL + "  max: 10\n  size: 20\n", 6, "spec.size: size is 20, and cannot be more than max, which is 10"),
        (POOL + "  applicationSecurityGroups: [web]\n", 5, "spec.applicationSecurityGroups.0: it is 'web'"),
        (POOL.replace("alpha1", "beta7") + "  {}\n", 1,
         'NodeIPPool has no version "v1beta7": there is v1alpha1, v1beta1'),
        (POOL.replace("IPPool", "IpPool") + "  {}\n", 2, 'there is no kind "NodeIpPool"'),
        (POOL.replace("name:", "labels:").replace("vm1", "{}") + "  {}\n", 3, "metadata: it needs a name"),
        ("apiVersion: azure-cni.io/v1alpha1\nkind: VNetQuota\nmetadata: {name: v}\nspec:\n  limit: 5\n", 4,
         "spec: it needs vnetID"),
        (("apiVersion: v1\nkind: List\nitems:\n- {}\n- apiVersion: azure-cni.io/v1alpha1\n  kind: NodeIPPool\n"
         "  metadata: {name: a}\n  spec:\n    max: 0\n"), 9, "items.1.spec.max: it is 0, and must be at least 1"),
    ],
)  # fmt: skip
def test_objects_of_ours_are_judged_by_their_definitions(tmp_path: Path, content: str, line: int, said: str):
    ((found, words),) = lint(tmp_path, content)
    assert (found, said in words) == (line, True), words


TEMPLATE = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web%s}
spec:
  template:
    metadata:
      annotations:
        other.io/egress: whatever
        %s
    spec:
      readinessGates: [%s]
"""
GATE = "{conditionType: azure-cni.io/load-balancer-attached}"
PUBLIC = "azure-cni.io/public-ip: /subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/one"


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (TEMPLATE % ("", "azure-cni.io/egres: pod", ""), 9, 'did you mean "azure-cni.io/egress"?'),
        (TEMPLATE % ("", "azure-cni.io/egress: pods", ""), 9, 'it is "pods", and must be "pod" or "node"'),
        (TEMPLATE % ("", "azure-cni.io/public-ip: one", ""), 9, "not the resource ID of a public IP address"),
        (TEMPLATE % ("", "azure-cni.io/egress: true", ""), 9, "must be a string, and this is True; put it in quotes"),
        (TEMPLATE % (", annotations: {azure-cni.io/egress: pod}", "", ""), 3, "write it into the template's metadata"),
        (TEMPLATE % ("", "", GATE), 11, "so it never becomes ready"),
        (TEMPLATE % ("", PUBLIC, GATE.replace("attached", "atached")), 11, "there is no condition"),
        ("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  annotations:\n    azure-cni.io/public-ip: x\n", 6,
         "it belongs on a Pod"),
        ("apiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {\n  readinessGates: ["
         + GATE + "]}}}}}\n", 4, "so it never becomes ready"),
    ],
)  # fmt: skip
def test_annotations_and_gates_that_would_have_no_effect(tmp_path: Path, content: str, line: int, said: str):
    ((found, words),) = lint(tmp_path, content)
    assert (found, said in words) == (line, True), words


@pytest.mark.parametrize(
    "content",
    [
        TEMPLATE % ("", PUBLIC, GATE),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {azure-cni.io/egress: pod}}\n",
        POOL.replace("name: vm1", "name: vm1, annotations: {azure-cni.io/read-now: '1'}") + "  {}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {plugins: x}\n---\n---\n",
        '{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "azure-cni"}, {"type": "portmap", "snat": true}]}',
        '{"cniVersion": "0.1.0", "name": "n", "plugins": [{"type": "bridge"}]}',
    ],
)
def test_what_is_right_or_not_ours_has_no_fault(tmp_path: Path, content: str):
    assert lint(tmp_path, content) == []


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ('{"cniVersion": "1.0.0", "name": "n",\n "plugins": [\n  {"type": "azure-cni", "sockt": "/x"}]}', 3,
         'unknown key "sockt": did you mean "socket"?'),
        ('{"cniVersion": "0.1.0", "name": "n", "plugins": [{"type": "azure-cni"}]}', 1, "its cniVersion is '0.1.0'"),
        ('{"cniVersion": "1.0.0", "name": "n", "plugins": [7,\n{"type": "azure-cni", "ipam": {"type": "x"}}]}', 2,
         "remove the key ipam"),
        ('{"cniVersion": "1.0.0", "name": "n/1", "type": "azure-cni"}', 1, 'its name "n/1"'),
    ],
)  # fmt: skip
def test_a_conflist_is_judged_as_the_plugin_judges_it(tmp_path: Path, content: str, line: int, said: str):
    ((found, words),) = lint(tmp_path, content)
    assert (found, said in words) == (line, True), words


def test_for_people_each_fault_is_file_line_and_words(tmp_path: Path):
    file = tmp_path / "pool.yaml"
    file.write_text(POOL + "  max: 0\n")
    done = check("-f", file)
    assert done.stdout.startswith(f"{file}:5: spec.max: it is 0, and must be at least 1\n")
    assert "1 fault" in done.stdout


def test_without_a_chart_nobody_says_that_values_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chart_files, "BESIDE_THE_SOURCE", tmp_path / "none")
    for content in ("mode: overlay\n", POOL + "  max: 0\n"):
        assert lint(tmp_path, content) == []
        assert "--chart" in check("-f", tmp_path / "file.yaml").stdout
    assert lint(tmp_path, "mode: overlay\n", "--chart", str(CHART))[0][0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-f", "/no/such/file"), "cannot check /no/such/file: No such file or directory\n"),
        (("-f", "/dev/null", "--chart", "/"), "cannot use the chart /"),
        (("-f", "/dev/null", "--pre"), "cannot use --pre with -f"),
        (("--chart", "/"), "cannot"),
    ],
)
def test_what_cannot_be_checked_is_said(words: tuple[str, ...], said: str):
    done = check(*words)
    assert (done.exit_code, said in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "content",
    ["a: &a [*a]\n", "? {a: b}\n: c\n", "a: !!python/object:os.system x\n", "\x00", "a: 2026-02-31\n", "[" * 3000,
     ("&a a: &b [x,x,x,x,x,x,x,x,x,x]\nc: &d [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\ne: &f [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
     "g: &h [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\ni: &j [*h,*h,*h,*h,*h,*h,*h,*h,*h,*h]\nk: [*j,*j,*j,*j,*j,*j,*j]\n")],
)  # fmt: skip
def test_odd_files_are_faults_in_words(tmp_path: Path, content: str):
    assert lint(tmp_path, content)
