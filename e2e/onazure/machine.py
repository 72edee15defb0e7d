"""A small VM of the run's own, which has no public address, and scripts that run on it by Azure's run command."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from onazure.arm import COMPUTE, Answer
from onazure.errors import NotAnsweredError
from onazure.lab import Config, Lab

NAME: Final = "vm"
NIC: Final = "vm-nic"
PRIMARY: Final = Config("ipconfig1")
IMAGE: Final = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
WATCH: Final = """\
python3 - <<'END'
import json, time, urllib.request
url = "http://169.254.169.254/metadata/instance/network?api-version=2021-10-01"
ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
seen, end = None, time.time() + SECONDS
print("started %.1f" % time.time())
while time.time() < end:
    try:
        shown = json.load(ask(urllib.request.Request(url, headers={"Metadata": "true"}), timeout=5))
        now = sorted(a["privateIpAddress"] for i in shown["interface"] for a in i["ipv4"]["ipAddress"])
    except Exception as error:
        now = ["error:", type(error).__name__]
    if now != seen:
        print("%.1f" % time.time(), *now)
        seen = now
    time.sleep(0.5)
END
"""
"""Prints each change of the addresses that the metadata service shows, with the time."""
ATTESTED: Final = """\
url="http://169.254.169.254/metadata/attested/document?api-version=2021-02-01&nonce=NONCE"
cd "$(mktemp -d)"
curl -s --noproxy '*' -H Metadata:true "$url" > answer
python3 -c 'import json; print(json.load(open("answer"))["signature"])' | base64 -d > signed
openssl cms -verify -noverify -inform DER -in signed -out content 2>/dev/null && echo signature: good
grep -q '"nonce":"NONCE"' content && echo nonce: there
openssl pkcs7 -inform DER -in signed -print_certs -noout
"""
"""Prints whether the document's signature is good, whether it has the nonce, and who signed it."""


@dataclass(slots=True)
class Machine:
    """`watch_s` is how long the metadata service is watched, `lead_s` how long a command may take to start."""

    lab: Lab
    size: str
    watch_s: float = 150.0
    lead_s: float = 60.0
    clock: Callable[[], float] = time.time

    @property
    def path(self) -> str:
        return self.lab.path("Microsoft.Compute/virtualMachines", NAME)

    def make(self) -> None:
        """The VM; NotAnsweredError. Nobody learns its password: run commands are the way in."""
        self.lab.must(self.lab.put(NIC, [PRIMARY]), "the VM's NIC could not be made")
        password = f"Aa1!{secrets.token_urlsafe(24)}"
        properties = {
            "hardwareProfile": {"vmSize": self.size},
            "storageProfile": {
                "imageReference": IMAGE,
                "osDisk": {"createOption": "FromImage", "managedDisk": {"storageAccountType": "Standard_LRS"}},
            },
            "osProfile": {"computerName": NAME, "adminUsername": "azureuser", "adminPassword": password},
            "networkProfile": {"networkInterfaces": [{"id": self.lab.nic(NIC), "properties": {"primary": True}}]},
        }
        body = {"location": self.lab.location, "properties": properties}
        self.lab.must(self.lab.arm.settle("PUT", self.path, body, version=COMPUTE), "the VM could not be made")

    def begin(self, script: str) -> tuple[Answer, float]:
        """Start a script; for `end`."""
        body = {"commandId": "RunShellScript", "script": script.splitlines()}
        answer = self.lab.arm.ask("POST", f"{self.path}/runCommand", body, version=COMPUTE)
        if not answer.ok:
            raise NotAnsweredError(f"no command could be run on the VM: {answer.words}")
        return answer, self.lab.arm.now()

    def end(self, begun: tuple[Answer, float]) -> str:
        """What it printed."""
        answer, began = begun
        outcome = self.lab.arm.end_of(answer, self.path, began=began, version=COMPUTE)
        self.lab.must(outcome, "a command on the VM failed")
        text = _message(outcome.answer.body)
        return text.partition("[stdout]")[2].partition("[stderr]")[0].strip()

    def watched(self, change: Callable[[], None]) -> tuple[float, list[tuple[float, list[str]]]]:
        """Watch the metadata service while something changes: when the change was done, and what was shown from when.

        Times are of two clocks, ours and the VM's, which both follow the time servers. NotAnsweredError when the VM
        began to watch too late.
        """
        begun = self.begin(WATCH.replace("SECONDS", f"{self.watch_s + self.lead_s}"))
        self.lab.arm.sleep(self.lead_s)
        before = self.clock()
        change()
        done = self.clock()
        first, *lines = self.end(begun).splitlines()
        if not first.startswith("started ") or float(first.split()[1]) > before:
            raise NotAnsweredError(f"the VM did not watch in time: {first}")
        return done, [(float(line.split()[0]), line.split()[1:]) for line in lines]


def _message(body: Any) -> str:
    """Of a command's result, which stands in the answer itself or in its operation's output."""
    output = body.get("properties", {}).get("output", body) if isinstance(body, dict) else {}
    return "\n".join(str(one.get("message", "")) for one in output.get("value") or ())
