"""`make e2e-windows`: make the ground, then run the tests in this directory, or those named, in a network of their own.

The network goes with this process: a namespace without a name, in which the loopback is up and the NIC is a bridge
without ports. Further arguments are pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from azurebox import host
from azurebox.steps import StepError
from windows import ground, image

INSIDE = "AZURE_CNI_WINDOWS_GROUND"
"""In the environment of the tests: they are in their network, and this is the ground's directory."""

IMAGE = "--image"
"""Among the arguments: build the image as well, which takes minutes and the network of this machine."""


def main(arguments: list[str]) -> int:
    """The status of the tests."""
    try:
        host.require_root()
        made = ground.ensure()
        if IMAGE in arguments:
            image.build()
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    here = str(Path(__file__).parent)
    named = any(not one.startswith("-") and Path(one.partition("::")[0]).exists() for one in arguments)
    return subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "pytest", *arguments, *([] if named else [here])],
        env={**os.environ, INSIDE: str(made.directory)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
