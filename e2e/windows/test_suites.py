"""The project's own tests on Windows Python: what is of Windows, with each call of HNS through the library.

The library is computenetwork.dll of this directory, found in System32 and called by ctypes as on Windows. It asks the
stand-in for HNS, which the tests' own process serves (e2e/windows/served_library.py).
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from windows.node import WindowsNode
from windows.suites import SUITES, Suite

LONGEST_S: Final = 1800.0


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_the_suite_passes(node: WindowsNode, figures: list[str], suite: Suite, request: pytest.FixtureRequest) -> None:
    if not suite.always and not request.config.getoption("--every-suite"):
        pytest.skip("with ARGS=--every-suite")
    options = ("-q", "-p", "no:cacheprovider", "--tb=short")
    done = node.python("-m", "pytest", *options, *suite.arguments, timeout_s=LONGEST_S)
    assert done.returncode == 0, done.stdout[-8000:]
    passed = re.search(r"^=*\s*(\d+ passed.*?)[\s=]*$", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout[-8000:]
    figures.append(f"{suite.name}: {passed[1]}")


def test_it_is_windows_python_and_the_library_in_system32(node: WindowsNode) -> None:
    """And without a service behind it, a call fails as one of a Windows without HNS running does."""
    code = (
        "import os, sys; os.environ['FAKEHNS_PORT'] = '0'; from azure_cni.windows.libraries import load_libraries; "
        "from azure_cni.windows.hcn import HcnKind; assert sys.platform == 'win32'; "
        "load_libraries().hcn.enumerate(HcnKind.NETWORK, '{}')"
    )
    done = node.python("-c", code, timeout_s=LONGEST_S)
    assert "cannot list the HCN network: RPC_S_SERVER_UNAVAILABLE 0x800706ba" in done.stdout
