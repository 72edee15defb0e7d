"""The product's own command line: the cluster on one screen, at the end of the tour."""

from collections.abc import Sequence

from azurebox.client import Box
from azurebox.demo.guide import Guide
from azurebox.demo.workload import Pod
from azurebox.steps import StepError

SETTLED_WITHIN_S = "60"


def show_status(guide: Guide, _: Box, pods: Sequence[Pod]) -> None:
    """Who has an address; and last what a person would ask first: nothing is wrong."""
    guide.chapter(
        "The command line",
        "Who has an address; and what is wrong, with the command that mends it: here nothing is. The same program is "
        "kubectl azure-cni.",
    )
    if pods:
        text = guide.show("azure-cni", "who", str(pods[0].address))
        guide.judge(pods[0].name in text, "it is that pod's.", f"azure-cni who does not name {pods[0].name}")
    try:
        guide.show("azure-cni", "status", "--wait", "--timeout", SETTLED_WITHIN_S)
    except StepError as error:
        guide.fault(f"azure-cni status finds something wrong:\n{error}")
