"""Compose on a VM with Docker: Debian 12's 1.29, unpacked in the cache and not installed, with what it imports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azurebox.docker_host import DockerHost, unpacked
from azurebox.facts import CACHE

COMPOSE = CACHE / "docker-compose"
PROJECT = "shop"
PACKAGES = (
    "docker-compose",
    *(
        f"python3-{name}"
        for name in (
            "attr", "certifi", "chardet", "charset-normalizer", "distro", "distutils", "docker", "dockerpty", "docopt",
            "dotenv", "idna", "jsonschema", "pkg-resources", "pyrsistent", "requests", "six", "texttable", "urllib3",
            "websocket", "yaml",
        )
    ),
)  # fmt: skip


def compose(host: DockerHost, file: Mapping[str, Any], *args: str) -> str:
    """Run `docker-compose ARGS` there with this compose file, which is JSON: YAML has it, too. Its output."""
    root = unpacked(COMPOSE, PACKAGES)
    packages = ":".join(str(path) for path in (root / "usr/lib/python3/dist-packages", *root.glob("usr/lib/python3.*")))
    path = Path("/var/compose.json")
    host.write(str(path), json.dumps(file))
    program = ["/usr/bin/python3", f"{root}/usr/bin/docker-compose", "-p", PROJECT, "-f", str(path)]
    return host.run("env", f"PYTHONPATH={packages}", *program, *args)
