"""The images that upstream's specs ask for, under upstream's names: nothing can be pulled in the box.

One of the box's own stands in for four of them: Debian with agnhost as its entry point, and the programs that specs
start in a shell. A pod of nginx, of which no spec asks anything, then waits as agnhost does.
"""

import json
from pathlib import Path

from azurebox import image, node, tools
from azurebox.facts import AGNHOST, CACHE
from azurebox.image_lock import images_locked
from azurebox.machine import Machine
from azurebox.steps import step

UPSTREAM = "registry.k8s.io/e2e-test-images"
AGNHOST_UPSTREAM = f"{UPSTREAM}/agnhost:2.63.0"
STAND_IN = "localhost/azbox/specs:1"
STANDS_FOR = (
    AGNHOST_UPSTREAM,
    f"{UPSTREAM}/busybox:1.37.0-1",
    f"{UPSTREAM}/glibc-dns-testing:2.0.0",
    f"{UPSTREAM}/nginx:1.15-4",
)
PACKAGES = ("bind9-dnsutils",)  # beside those that the box's agnhost has
INVALID_PACKETS = "regression-issue-74839"
INVALID_PACKETS_UPSTREAM = f"{UPSTREAM}/{INVALID_PACKETS}:1.4"


def load(machine: Machine) -> None:
    """Have them on a node."""
    node.load_image(machine, _stand_in())
    node.load_image(machine, image.ensure_program_image(INVALID_PACKETS_UPSTREAM, tools.SPECS, INVALID_PACKETS))
    for name in STANDS_FOR:
        machine.run(["ctr", "--namespace=k8s.io", "images", "tag", "--force", STAND_IN, name])


@images_locked()
def _stand_in() -> Path:
    """Its archive, made unless kept. The box has made its parent."""
    archive = CACHE / f"specs-image-{tools.KUBERNETES.key}.tar"
    if not archive.exists():
        with step("image of the specs' pods"):
            image.commit(
                STAND_IN,
                parent=AGNHOST,
                add=[],
                config=["--entrypoint", json.dumps(["/agnhost"]), "--cmd", "pause"],
                script=image.install_script(PACKAGES),
            )
            image.write_archive(STAND_IN, archive)
        for old in set(CACHE.glob("specs-image-*.tar")) - {archive}:
            old.unlink()
    return archive
