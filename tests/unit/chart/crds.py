"""The custom resource definitions as they are in the repository."""

from typing import Any

import yaml

from unit.chart.helm import CRDS

POOLS: dict[str, Any] = yaml.safe_load((CRDS / "azure-cni.io_nodeippools.yaml").read_text())
QUOTAS: dict[str, Any] = yaml.safe_load((CRDS / "azure-cni.io_vnetquotas.yaml").read_text())


def version(crd: dict[str, Any]) -> dict[str, Any]:
    """The one that is served."""
    (found,) = (one for one in crd["spec"]["versions"] if one["served"])
    return dict(found)


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    return dict(version(crd)["schema"]["openAPIV3Schema"])


SPEC, STATUS = (schema(POOLS)["properties"][part] for part in ("spec", "status"))
QUOTA_SPEC, QUOTA_STATUS = (schema(QUOTAS)["properties"][part] for part in ("spec", "status"))
