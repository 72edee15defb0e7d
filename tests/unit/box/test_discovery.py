"""Targets for Prometheus are those that its own Kubernetes discovery would find."""

from azurebox.discovery import targets


def a_pod(**status: str) -> dict[str, object]:
    return {
        "metadata": {
            "name": "agent-1",
            "namespace": "kube-system",
            "uid": "u-1",
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9810"},
            "labels": {"app.kubernetes.io/name": "azure-cni"},
            "ownerReferences": [
                {"kind": "VerticalThing", "name": "other"},
                {"kind": "DaemonSet", "name": "agent", "controller": True},
            ],
        },
        "spec": {"nodeName": "azbox-vm1"},
        "status": status,
    }


def test_a_pod_is_a_target_with_the_labels_of_the_usual_discovery():
    [target] = targets({"items": [a_pod(podIP="10.240.0.5", hostIP="10.240.0.5", phase="Running")]})
    assert target == {
        "targets": ["10.240.0.5"],
        "labels": {
            "__meta_kubernetes_namespace": "kube-system",
            "__meta_kubernetes_pod_name": "agent-1",
            "__meta_kubernetes_pod_uid": "u-1",
            "__meta_kubernetes_pod_ip": "10.240.0.5",
            "__meta_kubernetes_pod_host_ip": "10.240.0.5",
            "__meta_kubernetes_pod_node_name": "azbox-vm1",
            "__meta_kubernetes_pod_phase": "Running",
            "__meta_kubernetes_pod_controller_kind": "DaemonSet",
            "__meta_kubernetes_pod_controller_name": "agent",
            "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
            "__meta_kubernetes_pod_annotation_prometheus_io_port": "9810",
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": "azure-cni",
        },
    }


def test_a_pod_without_an_address_is_no_target():
    assert targets({"items": [a_pod(phase="Pending")]}) == []
