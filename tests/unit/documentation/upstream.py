"""The fields of other projects' files that the pages by installer use, as these projects document them, and no others.

Written by hand from the documentation that each page names under "Sources": a misspelt or misplaced field, and one of
another type, is found without the network. That a file does what the page says is not.
"""

from collections.abc import Iterator
from typing import Any, Final

Shape = Any
"""A type; a dict of fields with their shapes, or `{str: shape}` for fields of any name; or a list of one shape."""

ANY: Final = object
STRINGS: Final[Shape] = {str: str}
METADATA: Final[Shape] = {"name": str, "namespace": str, "labels": STRINGS}
NAME_VALUE: Final[Shape] = [{"name": str, "value": str}]
KUBELET_FLAGS: Final[Shape] = {"kubeletExtraArgs": NAME_VALUE}
FILES: Final[Shape] = [
    {
        "path": str,
        "owner": str,
        "permissions": str,
        "content": str,
        "contentFrom": {"secret": {"name": str, "key": str}},
    }
]
FLAGS: Final[Shape] = {"extraArgs": STRINGS}

KINDS: Final[dict[tuple[str, str], dict[str, Shape]]] = {
    ("kubeadm.k8s.io/v1beta4", "InitConfiguration"): {"nodeRegistration": KUBELET_FLAGS},
    ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration"): {
        "controlPlaneEndpoint": str,
        "controllerManager": {"extraArgs": NAME_VALUE},
    },
    ("kubeadm.k8s.io/v1beta4", "JoinConfiguration"): {
        "discovery": {"bootstrapToken": {"apiServerEndpoint": str, "token": str, "caCertHashes": [str]}},
        "nodeRegistration": KUBELET_FLAGS,
    },
    ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"): {"maxPods": int},
    ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"): {
        "mode": str,
        "detectLocalMode": str,
        "detectLocal": {"interfaceNamePrefix": str, "bridgeInterface": str},
    },
    ("kustomize.config.k8s.io/v1beta1", "Kustomization"): {
        "resources": [str],
        "patches": [{"path": str, "target": {"kind": str}}],
    },
    ("infrastructure.cluster.x-k8s.io/v1beta1", "AzureMachineTemplate"): {
        "spec": {"template": {"spec": {"identity": str, "userAssignedIdentities": [{"providerID": str}]}}}
    },
    ("controlplane.cluster.x-k8s.io/v1beta1", "KubeadmControlPlane"): {
        "spec": {"kubeadmConfigSpec": {"files": FILES, "preKubeadmCommands": [str]}}
    },
    ("bootstrap.cluster.x-k8s.io/v1beta1", "KubeadmConfigTemplate"): {"spec": {"template": {"spec": {"files": FILES}}}},
    ("cluster.x-k8s.io/v1beta1", "Cluster"): {},
    ("addons.cluster.x-k8s.io/v1alpha1", "HelmChartProxy"): {
        "spec": {
            "clusterSelector": {"matchLabels": STRINGS},
            "repoURL": str,
            "chartName": str,
            "version": str,
            "namespace": str,
            "releaseName": str,
            "valuesTemplate": str,
        }
    },
    ("helm.cattle.io/v1", "HelmChart"): {
        "spec": {
            "repo": str,
            "chart": str,
            "version": str,
            "targetNamespace": str,
            "bootstrap": bool,
            "valuesContent": str,
        }
    },
    ("v1alpha1", "KubeProxyConfig"): {
        "config": {"detectLocalMode": str, "detectLocal": {"interfaceNamePrefix": str, "bridgeInterface": str}}
    },
}
"""By `apiVersion` and `kind`; `metadata` comes with each."""

RANCHER: Final[Shape] = {
    "disable-cloud-controller": bool,
    "kube-controller-manager-arg": [str],
    "kube-proxy-arg": [str],
    "kubelet-arg": [str],
}
FILES_BY_NAME: Final[dict[str, Shape]] = {
    "/etc/rancher/rke2/config.yaml": RANCHER | {"cni": str, "cloud-provider-name": str},
    "/etc/rancher/k3s/config.yaml": RANCHER | {"flannel-backend": str, "disable-network-policy": bool},
    "azure-cni.patch.yaml": {
        "machine": {"kubelet": {"extraConfig": {"maxPods": int}}},
        "cluster": {
            "network": {"cni": {"name": str}},
            "controllerManager": FLAGS,
            "proxy": FLAGS,
            "externalCloudProvider": {"enabled": bool},
        },
    },
    "inventory/CLUSTER/group_vars/k8s_cluster/k8s-net-custom-cni.yml": {
        "kube_network_plugin": str,
        "custom_cni_chart_namespace": str,
        "custom_cni_chart_release_name": str,
        "custom_cni_chart_repository_name": str,
        "custom_cni_chart_repository_url": str,
        "custom_cni_chart_ref": str,
        "custom_cni_chart_version": str,
        "custom_cni_chart_values": ANY,
        "kube_kubeadm_controller_extra_args": STRINGS,
        "kubelet_max_pods": int,
    },
    "nodes.yaml, for the flavor azure-cni-v1": [{"op": str, "path": str, "value": ANY}],
    "values.yaml of the chart cloud-provider-azure": {
        "infra": {"clusterName": str},
        "cloudControllerManager": {"allocateNodeCidrs": str, "configureCloudRoutes": str, "clusterCIDR": str},
        "cloudNodeManager": {"enabled": bool},
    },
}
"""By the name in the block's first line, for files that name no kind."""

AZURE_JSON: Final[Shape] = {
    **dict.fromkeys(
        (
            "cloud", "tenantId", "subscriptionId", "resourceGroup", "location", "vmType", "vnetName",
            "vnetResourceGroup", "subnetName", "securityGroupName", "userAssignedIdentityID", "loadBalancerSku",
            "loadBalancerBackendPoolConfigurationType",
        ),
        str,
    ),
    **dict.fromkeys(("useManagedIdentityExtension", "useInstanceMetadata"), bool),
}  # fmt: skip
"""cloud-provider-azure's own configuration."""


def faults(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """Where the value has a field that the shape has not, or another type."""
    match shape:
        case dict() if isinstance(value, dict):
            if set(shape) == {str}:
                shape = dict.fromkeys(value, shape[str])
            yield from (f"{path}.{name} is unknown" for name in value.keys() - shape.keys())
            for name in value.keys() & shape.keys():
                yield from faults(shape[name], value[name], f"{path}.{name}")
        case [one] if isinstance(value, list):
            for number, item in enumerate(value):
                yield from faults(one, item, f"{path}[{number}]")
        case type() if isinstance(value, shape) and (shape is not int or not isinstance(value, bool)):
            pass
        case _:
            yield f"{path} is {value!r}"


def of_kind(document: dict[str, Any]) -> Shape | None:
    """The shape of an object that names its kind, or None where these pages have no business with it."""
    fields = KINDS.get((document.get("apiVersion", ""), document.get("kind", "")))
    return None if fields is None else {"apiVersion": str, "kind": str, "metadata": METADATA, **fields}
