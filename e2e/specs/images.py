"""The images that upstream's specs ask for, under upstream's names: nothing can be pulled in the box.

One of the box's own stands in for all but one: Debian with agnhost as its entry point, and the programs that specs
start in a shell. A pod of nginx, of which no spec asks anything, then waits as agnhost does.
"""

from pathlib import Path

from azurebox import image, node, tools
from azurebox.machine import Machine

UPSTREAM = "registry.k8s.io/e2e-test-images"
AGNHOST_UPSTREAM = f"{UPSTREAM}/agnhost:2.63.0"
STAND_IN = "localhost/azbox/spec-pods:1"
STANDS_FOR = (
    AGNHOST_UPSTREAM,
    f"{UPSTREAM}/busybox:1.37.0-1",
    f"{UPSTREAM}/glibc-dns-testing:2.0.0",
    f"{UPSTREAM}/nginx:1.15-4",
    "registry.k8s.io/build-image/distroless-iptables:v0.9.6",
    "registry.k8s.io/pause:3.10.2",
)
PACKAGES = ("bind9-dnsutils", "conntrack", "wget")  # beside those that the box's agnhost has
CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost"
    " -keyout /localhost.key -out /localhost.crt"
)
"""Of `agnhost porter`, which upstream's image has as a file."""
INVALID_PACKETS = "regression-issue-74839"
INVALID_PACKETS_UPSTREAM = f"{UPSTREAM}/{INVALID_PACKETS}:1.4"


def load(machine: Machine) -> None:
    """Have them on a node."""
    node.load_image(machine, _stand_in())
    node.load_image(machine, image.ensure_program_image(INVALID_PACKETS_UPSTREAM, tools.SPECS, INVALID_PACKETS))
    for name in STANDS_FOR:
        machine.run(["ctr", "--namespace=k8s.io", "images", "tag", "--force", STAND_IN, name])


def _stand_in() -> Path:
    return image.ensure_agnhost(STAND_IN, packages=PACKAGES, add=[tools.path("coredns")], script=CERTIFICATE)
