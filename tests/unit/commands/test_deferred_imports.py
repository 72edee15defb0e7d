"""What is deferred is not loaded, and works as if it had been."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from azure_cni.commands.deferred_imports import StandIn, deferred

NAMES = ("seldom", "seldom.inner", "seldom.inner.depths")
EAGER = """
import seldom.inner
from seldom import Kind, double, FACTOR

def annotated(kind: Kind[int]) -> Kind: ...
def is_kind(one): return isinstance(one, Kind)
def doubled(number): return double(number)
def deep(): return seldom.inner.depths.BOTTOM
def digits(): return FACTOR.bit_length()
"""


@pytest.fixture
def eager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that imports the package `seldom`, which is deferred, when it is loaded."""
    inner = tmp_path / "seldom" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "eager.py").write_text(EAGER)
    (tmp_path / "seldom" / "__init__.py").write_text(
        "FACTOR = 2\nclass Kind: pass\ndef double(number, *, times=FACTOR): return number * times\n"
    )
    (inner / "__init__.py").write_text("from seldom.inner import depths\n")
    (inner / "depths.py").write_text("BOTTOM = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with deferred(NAMES):
        import eager  # type: ignore[import-not-found]
    yield eager
    for name in (*NAMES, "eager"):
        sys.modules.pop(name, None)


def test_nothing_is_loaded_until_it_is_used(eager: ModuleType) -> None:
    assert not sys.modules.keys() & set(NAMES)
    assert not eager.is_kind(object())
    assert not sys.modules.keys() & set(NAMES)
    assert eager.doubled(4) == 8
    assert "seldom" in sys.modules
    assert "seldom.inner" not in sys.modules
    assert eager.deep() == 7
    assert eager.digits() == 2


def test_a_class_is_the_class_once_somebody_loads_it(eager: ModuleType) -> None:
    from seldom import Kind  # type: ignore[import-not-found]

    assert not isinstance(sys.modules["seldom"], StandIn)
    assert eager.is_kind(Kind())
    assert not eager.is_kind(object())


def test_what_is_loaded_stays() -> None:
    before = sys.modules["json"]
    with deferred(["json"]):
        import json
    assert json is before is sys.modules["json"]


def test_what_is_missing_is_missed_by_its_name(eager: ModuleType) -> None:
    with pytest.raises(AttributeError, match=r"'seldom\.inner' has no attribute 'nowhere'"):
        _ = eager.seldom.inner.nowhere
    with pytest.raises(ModuleNotFoundError, match=r"seldom\.nobody"):
        _ = eager.seldom.nobody.at_home


def test_a_block_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), deferred(["no_such_module_at_all"]):
        raise ZeroDivisionError
    assert "no_such_module_at_all" not in sys.modules


def test_a_client_of_the_cluster_loads_none_of_what_it_hardly_uses(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], users: [{name: a, user: {}}], "
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    program = (
        "import sys; from azure_cni.commands.access import HARDLY_USED, KubernetesAccess; "
        f"KubernetesAccess(kubeconfig={str(config)!r}); print(*sorted(sys.modules.keys() & set(HARDLY_USED)))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
