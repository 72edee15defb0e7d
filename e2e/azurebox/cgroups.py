"""The cgroup of each node, under which its kubelet keeps the pods, for cgroup v1 and v2.

On v1 the group is made in every controller's hierarchy. On v2 it is one directory, and its parent must hand the
controllers down first. The kubelet does not make its own root group, so it is made here.
"""

import time
from contextlib import suppress
from pathlib import Path

from azurebox.facts import PREFIX
from azurebox.steps import StepError

ROOT = Path("/sys/fs/cgroup")
V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
REMOVE_WITHIN_S = 30.0


def version() -> int:
    """2 when the unified hierarchy is mounted at /sys/fs/cgroup, else 1 (a hybrid one counts as 1)."""
    return 2 if (ROOT / "cgroup.controllers").exists() else 1


def hierarchies() -> list[Path]:
    """The roots under which a group may exist."""
    if version() == 2:
        return [ROOT]
    # Links such as `cpu` -> `cpu,cpuacct` lead to a hierarchy that is listed anyway.
    return sorted(path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink())


def ensure(name: str) -> None:
    """Make the group `name` in every hierarchy.

    Raises:
        StepError: on v2, the parent cannot hand down the controllers that the kubelet needs.

    """
    if version() == 2:
        _hand_down_controllers()
        (ROOT / name).mkdir(exist_ok=True)
        return
    for root in hierarchies():
        group = root / name
        group.mkdir(exist_ok=True)
        for key in ("cpuset.cpus", "cpuset.mems"):  # a new v1 cpuset is empty and takes no process
            if (group / key).exists() and not (group / key).read_text().strip():
                (group / key).write_text((root / key).read_text())


def ensure_small(name: str) -> Path:
    """Make the group `name`, whose processes get an eighth of the CPU time of others where both want it.

    The file that takes the ids of its processes.
    """
    ensure(name)
    if version() == 2:
        group, key, share = ROOT / name, "cpu.weight", "12"  # of 100, what others have
    else:
        root = next(root for root in hierarchies() if (root / name / "cpu.shares").exists())
        group, key, share = root / name, "cpu.shares", "128"  # of 1024
    (group / key).write_text(share)
    return group / "cgroup.procs"


def ours(pattern: str = f"{PREFIX}*") -> list[Path]:
    """Every group of the box that exists, on any hierarchy, or only those whose name matches."""
    return [path for root in hierarchies() for path in sorted(root.glob(pattern)) if path.is_dir()]


def remove(pattern: str = f"{PREFIX}*") -> None:
    """Remove these groups, leaves first; they must be empty of processes or become so soon."""
    deadline = time.monotonic() + REMOVE_WITHIN_S
    while (groups := ours(pattern)) and time.monotonic() < deadline:
        for group in groups:
            for path in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
                _try_rmdir(path)
            _try_rmdir(group)
        if ours(pattern):
            time.sleep(0.1)


def _try_rmdir(path: Path) -> None:
    with suppress(OSError):  # still busy: the caller tries again, and the final check shows
        path.rmdir()


def _hand_down_controllers() -> None:
    available = (ROOT / "cgroup.controllers").read_text().split()
    wanted = [f"+{name}" for name in V2_CONTROLLERS if name in available]
    try:
        (ROOT / "cgroup.subtree_control").write_text(" ".join(wanted))
    except OSError as error:
        raise StepError(
            f"cannot hand {' '.join(wanted)} down from {ROOT}: {error}",
            advice="in a container, its processes sit in this group: start it with --cgroupns=host or use a VM",
        ) from None
