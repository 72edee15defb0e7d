"""The chart as `check -f` needs it: schema, defaults, definitions; and its templates' own refusals, by helm.

The rules that compare values stand in the templates alone, and only helm evaluates those. Where helm is not installed,
they are reported as not checked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from azure_cni.api.reading import mapping, spec_of, text
from azure_cni.errors import ConfigInvalid

BESIDE_THE_SOURCE: Final = Path(__file__).resolve().parents[3] / "charts" / "azure-cni"
"""In a checkout of the repository."""
HELM_S: Final = 120.0
_OLDEST: Final = re.compile(r">=\s*v?(\d+\.\d+\.\d+)")
_SAID: Final = re.compile(r"(?:execution error at \([^)]*\): )(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChartFiles:
    """`definitions`: the CustomResourceDefinitions, by kind. `oldest`: the first Kubernetes that the chart is for."""

    directory: Path
    version: str
    oldest: str
    schema: Mapping[str, Any]
    defaults: Mapping[str, Any]
    definitions: Mapping[str, Mapping[str, Any]]

    @property
    def helm(self) -> str | None:
        """The program, where it is installed."""
        return shutil.which("helm")

    def refusal(self, values: Path) -> str:
        """Why the chart's templates refuse these values, "" where they do not: the first of several sentences.

        ConfigInvalid where helm fails in another way, or is not there.
        """
        helm = self.helm
        if helm is None:
            raise ConfigInvalid("cannot evaluate the chart's templates: helm is not installed")
        flags = ["--namespace", "kube-system", "--kube-version", self.oldest, "-f", str(values)]
        try:
            done = subprocess.run(  # noqa: S603  # the person's own helm, on files that they named
                [helm, "template", "azure-cni", str(self.directory), *flags],
                capture_output=True,
                text=True,
                timeout=HELM_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigInvalid(f"cannot evaluate the chart's templates with {helm}: {error}") from error
        if done.returncode == 0:
            return ""
        said = _SAID.search(done.stderr)
        if said is None:
            raise ConfigInvalid(f"cannot evaluate the chart's templates with {helm}: {done.stderr.strip()}")
        return " ".join(said[1].partition("\n\nUse --debug")[0].split())


def read_chart(directory: Path | None) -> ChartFiles | None:
    """That chart, or without a name the one beside the source; None where there is none.

    ConfigInvalid for a directory that is no chart of azure-cni.
    """
    if directory is None and not BESIDE_THE_SOURCE.is_dir():
        return None
    found = directory or BESIDE_THE_SOURCE
    try:
        about = mapping(yaml.safe_load((found / "Chart.yaml").read_text()))
        bodies = [yaml.safe_load(path.read_text()) for path in sorted((found / "files" / "crds").glob("*.yaml"))]
        chart = ChartFiles(
            directory=found,
            version=text(about.get("version")),
            oldest=(_OLDEST.search(text(about.get("kubeVersion"))) or ["", "1.30.0"])[1],
            schema=mapping(json.loads((found / "values.schema.json").read_text())),
            defaults=mapping(yaml.safe_load((found / "values.yaml").read_text())),
            definitions={text(mapping(spec_of(body).get("names")).get("kind")): body for body in bodies},
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigInvalid(f"cannot use the chart {found}: {error}; unpack it with helm pull --untar") from error
    if about.get("name") != "azure-cni" or not chart.definitions:
        raise ConfigInvalid(f"cannot use the chart {found}: it is not azure-cni's; name its directory with --chart")
    return chart
