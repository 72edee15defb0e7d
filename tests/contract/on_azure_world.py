"""A person with `az`, logged in to a fake Azure: for `e2e/on-azure` as a program, and for its questions one by one."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azurebox.facts import REPOSITORY
from contract.azure_world import Token
from fakeazure import Endpoints, FakeAzure
from fakeazure.identity import Principal
from onazure.arm import Arm
from onazure.lab import Lab
from onazure.login import Login

GROUP = "questions"
KINDS = ("networkInterfaces", "virtualNetworks")
AZ = """#!{python}
import json, sys
answers = json.load(open({answers!r}))
words = " ".join(sys.argv[1:])
for begin, answer in answers.items():
    if words.startswith(begin):
        print(json.dumps(answer))
        sys.exit()
sys.exit("ERROR: az does not know " + words)
"""


@dataclass(frozen=True, slots=True)
class Person:
    """`directory` is where the report goes and where `az` is."""

    azure: FakeAzure
    endpoints: Endpoints
    directory: Path

    def answers(self) -> dict[str, Any]:
        """What this `az` says."""
        account = {"id": self.azure.subscription_id, "name": "try", "tenantId": self.azure.identity.tenant}
        return {
            "account get-access-token": {"accessToken": Token(self.azure, "person").fresh()},
            "account show": account,
            "cloud show": {"name": "AzureCloud", "endpoints": {"resourceManager": f"{self.endpoints.arm}/"}},
        }

    async def start(self, *words: str, yes: str = "", az: str = "") -> asyncio.subprocess.Process:
        """`e2e/on-azure WORDS`, with that on its standard input; `az` is another program in place of az."""
        answers = self.directory / "answers.json"
        answers.write_text(json.dumps(self.answers()))
        program = self.directory / "az"
        program.write_text(az or AZ.format(python=sys.executable, answers=str(answers)))
        program.chmod(0o755)
        process = await asyncio.create_subprocess_exec(
            REPOSITORY / "e2e" / "on-azure",
            "--group",
            GROUP,
            "--report",
            str(self.directory / "report"),
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": f"{self.directory}:{os.environ['PATH']}",
                "PYTHON": sys.executable,
                "SSL_CERT_FILE": str(self.endpoints.ca_file),
            },
        )
        assert process.stdin
        process.stdin.write(yes.encode())
        process.stdin.close()
        return process

    async def run(self, *words: str, yes: str = "", az: str = "") -> tuple[int, str, str]:
        """Its exit code and what it printed to either."""
        process = await self.start(*words, yes=yes, az=az)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return found

    def lab(self, sleep: Any = lambda _: None) -> Lab:
        """For a thread that asks questions in this process, without waiting."""
        login = Login(lambda *words: self.answers()[" ".join(words[:2])], self.endpoints.arm, "AzureCloud",
                      self.azure.subscription_id, "try", self.azure.identity.tenant)  # fmt: skip
        context = ssl.create_default_context(cafile=self.endpoints.ca_file)
        handler = urllib.request.HTTPSHandler(context=context)
        inside = f"/subscriptions/{self.azure.subscription_id}/resourceGroups/{GROUP}"
        return Lab(Arm(login, inside, send=urllib.request.build_opener(handler).open, sleep=sleep), "eastus")

    def traces(self) -> list[str]:
        """IDs of what is there beside the box's own group."""
        network = self.azure.network
        things = [*network.vnets, *network.subnets, *network.nics, *network.vms, *network.others]
        return [*(one for one in network.groups if one != "azbox"), *things]


@asynccontextmanager
async def person(directory: Path, azure: FakeAzure | None = None) -> AsyncIterator[Person]:
    """Of a subscription in which there is nothing yet."""
    azure = azure or FakeAzure(seed=1)
    for kind in KINDS:
        azure.api_versions.limit(f"Microsoft.Network/{kind}", ["2025-05-01", "2024-05-01", "2023-11-01"])
    azure.identity.add(Principal(azure.names.guid(), azure.names.guid(), "person"))
    async with azure.serve() as endpoints:
        yield Person(azure, endpoints, directory)
