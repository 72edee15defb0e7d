"""What runs, in a form that a person reads."""

from azurebox import cgroups, leftovers, processes
from azurebox.controlplane import kubectl
from azurebox.facts import CACHE, KUBECONFIG
from azurebox.steps import StepError


def report() -> str:
    """Several lines: processes with memory, nodes, pods, places."""
    records = processes.all_records()
    if not records:
        left = leftovers.look()
        return (
            f"the box is down, but {left.counts()} are left: e2e/box down, or up"
            if left
            else "the box is down: e2e/box up"
        )
    width = max(len(process.name) for process in records)
    lines = [f"{'PROCESS':<{width}}  {'STATE':<8} {'PID':>8} {'MEMORY':>9}"]
    for process in records:
        state = "running" if process.is_alive() else "ended"
        lines.append(f"{process.name:<{width}}  {state:<8} {process.pid:>8} {process.memory_kib / 1024:>5.0f} MiB")
    lines += ["", _cluster(), "", f"cgroup v{cgroups.version()}; kept builds in {CACHE}; kubeconfig {KUBECONFIG}"]
    return "\n".join(lines)


def _cluster() -> str:
    try:
        nodes = kubectl("get", "nodes", "-o", "wide").rstrip()
        pods = kubectl("get", "pods", "-A", "-o", "wide").rstrip()
    except StepError as error:
        return str(error)
    return f"{nodes}\n\n{pods or 'no pods'}"
