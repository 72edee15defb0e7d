"""Compose on a VM with Docker: 2.40, built from source, and Debian 12's 1.29, unpacked in the cache and not installed,
with what it imports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azurebox import tools
from azurebox.docker_host import DockerHost, unpacked
from azurebox.facts import CACHE

DEBIANS = CACHE / "docker-compose"
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
VERSIONS = ("2.40", "1.29")


@dataclass(frozen=True, slots=True)
class Compose:
    """One of VERSIONS on a VM. 1.29 speaks an API that Docker 29 no longer does."""

    host: DockerHost
    version: str

    def run(self, file: Mapping[str, Any], *args: str) -> str:
        """Run it there with this compose file, which is JSON: YAML has it, too. Its output."""
        path = Path("/var/compose.json")
        self.host.write(str(path), json.dumps(file))
        return self.host.run(*self._program(), "-p", PROJECT, "-f", str(path), *args)

    def container(self, service: str) -> str:
        """The name of the first container of a service."""
        return ("_" if self.version == "1.29" else "-").join((PROJECT, service, "1"))

    def _program(self) -> list[str]:
        if self.version != "1.29":
            tools.ensure_tools((tools.COMPOSE,))
            return [str(tools.path("docker-compose"))]
        root = unpacked(DEBIANS, PACKAGES)
        imports = (root / "usr/lib/python3/dist-packages", *root.glob("usr/lib/python3.*"))
        packages = ":".join(map(str, imports))
        return ["env", f"PYTHONPATH={packages}", "/usr/bin/python3", f"{root}/usr/bin/docker-compose"]
