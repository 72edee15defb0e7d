"""One command at a time uses the images' storage: buildah keeps it consistent, but not the names that a build gives.

Two builds of two work trees on one machine give their images the same names, and each prunes what it does not know. So
the second waits for the first, and says so. The kernel ends the lock with the process that has it.
"""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azurebox.facts import CACHE
from azurebox.steps import say

LOCK = CACHE / "buildah.lock"
_held = threading.RLock()
_depth = 0


@contextmanager
def images_locked(path: Path = LOCK) -> Iterator[None]:
    """Nobody else on this machine builds images meanwhile; also a decorator. Inside another it does nothing."""
    global _depth  # noqa: PLW0603  # of this process, as the lock is
    with _held:
        if _depth:
            yield
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            _take(file.fileno(), path)
            _depth = 1
            try:
                yield
            finally:
                _depth = 0


def _take(descriptor: int, path: Path) -> None:
    """Wait for as long as it takes: a build takes minutes."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting: another command builds images on this machine (it has the lock {path})")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        say("the other command is done")
