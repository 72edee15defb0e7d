"""People's tools in the box find the cluster, and kubectl its plugins, whose name must be the first word."""

import shutil

from azurebox import tools
from azurebox.controlplane import in_shell, people, people_environment
from azurebox.facts import KUBECONFIG


def test_kubectl_gets_nothing_before_the_name_of_a_plugin():
    command = people("kubectl", "azure-cni", "status")
    assert command[command.index(str(tools.path("kubectl"))) + 1 :] == ["azure-cni", "status"]
    assert people_environment()["KUBECONFIG"] == str(KUBECONFIG)


def test_kubectl_finds_the_products_command_line():
    assert shutil.which("kubectl-azure_cni", path=people_environment()["PATH"])


def test_a_pasted_line_finds_the_programs_of_the_box():
    assert in_shell("kubectl get pods; azure-cni status")[-2:] == ["-c", "kubectl get pods; azure-cni status"]
    path = people_environment()["PATH"].split(":")
    assert {str(tools.path(program).parent) for program in ("kubectl", "helm")} <= set(path)
