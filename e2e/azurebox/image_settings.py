"""What an image's build takes from the machine that it runs on, and that none of it stays in the image.

Settings of this machine's package managers (PIP_*, GOPROXY, certificates) reach the build as build arguments, as far
as the Dockerfile asks for them, and as mounts for the time of the build.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from azurebox.steps import StepError

# Certificates of a machine whose way to the registries is inspected: the first that is set.
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
IN_IMAGE_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
GO_SETTINGS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE")
HARMLESS = {"PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"}
# Directories that are empty in any Debian: what is mounted there for a build leaves no trace in the image.
EMPTY_PLACES = ("/mnt", "/media", "/srv")


def package_settings(dockerfile: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Arguments of `buildah build` that hand on what this machine sets for pip, Go and TLS; none when nothing is set.

    Only what the text of the Dockerfile declares by ARG is handed on.
    """
    asked = set(re.findall(r"^ARG (\w+)", dockerfile, flags=re.MULTILINE))
    values = {name: value for name, value in environment.items() if name.startswith("PIP_") and value}
    values |= {name: environment[name] for name in GO_SETTINGS if environment.get(name)}
    arguments = []
    if bundle := next((environment[name] for name in CERTIFICATES if environment.get(name)), ""):
        arguments.append(f"--volume={Path(bundle).resolve()}:{IN_IMAGE_CERTIFICATES}:ro")
        values |= dict.fromkeys(CERTIFICATES, IN_IMAGE_CERTIFICATES)
    links, places = [], iter(EMPTY_PLACES)
    for link in values.get("PIP_FIND_LINKS", "").split():
        if Path(link).is_dir() and (place := next(places, None)):
            arguments.append(f"--volume={link}:{place}:ro")
            links.append(place)
        else:
            links.append(link)
    if links:
        values["PIP_FIND_LINKS"] = " ".join(links)
    return arguments + [f"--build-arg={name}={value}" for name, value in sorted(values.items()) if name in asked]


def check_environment(entries: Iterable[str]) -> None:
    """Look at the environment that an image's configuration sets, NAME=VALUE each.

    Raises:
        StepError: it holds a setting of the machine that built it.

    """
    names = {entry.partition("=")[0] for entry in entries}
    kept = {name for name in names if name.startswith("PIP_") or name in {*CERTIFICATES, *GO_SETTINGS}}
    if leaked := sorted(kept - HARMLESS):
        raise StepError(
            f"cannot use the image: its configuration holds settings of this machine: {' '.join(leaked)}",
            advice="set them in the RUN line that needs them, not with ENV",
        )
