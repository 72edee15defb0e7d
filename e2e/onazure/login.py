"""Who asks: the login of `az`, the subscription that it is in, and where Resource Manager is."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onazure.errors import OnAzureError

Az = Callable[..., Any]
"""Runs `az WORDS` and gives its answer, parsed; raises OnAzureError."""


def run_az(*words: str) -> Any:
    """The real one."""
    program = shutil.which("az")
    if program is None:
        raise OnAzureError("cannot log in: there is no az here; use Azure Cloud Shell, or install the Azure CLI")
    done = subprocess.run([program, *words, "--output", "json"], capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()
        raise OnAzureError(f"cannot run az {' '.join(words)}: {why[0] if why else 'it says nothing'}; run az login")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise OnAzureError(f"cannot run az {' '.join(words)}: its answer is not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class Login:
    """A subscription, and the Resource Manager of its cloud, without a slash at the end."""

    az: Az
    resource_manager: str
    cloud: str
    subscription: str
    subscription_name: str
    tenant: str

    @classmethod
    def of(cls, az: Az, subscription: str = "") -> "Login":
        """The subscription of that ID or name, or the one that `az` is set to."""
        account = az("account", "show", *(("--subscription", subscription) if subscription else ()))
        cloud = az("cloud", "show")
        try:
            return cls(
                az,
                str(cloud["endpoints"]["resourceManager"]).rstrip("/"),
                str(cloud["name"]),
                str(account["id"]),
                str(account["name"]),
                str(account["tenantId"]),
            )
        except (KeyError, TypeError) as error:
            raise OnAzureError(
                f"cannot log in: az does not say which subscription and cloud it is: no {error}"
            ) from error

    def token(self) -> str:
        """A new one, good for an hour or so."""
        answer = self.az("account", "get-access-token", "--subscription", self.subscription)
        try:
            return str(answer["accessToken"])
        except (KeyError, TypeError) as error:
            raise OnAzureError("cannot log in: az gives no accessToken; run az login") from error
