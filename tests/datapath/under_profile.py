"""Runs a command under a seccomp profile, as runtimes do: `python -m datapath.under_profile FILE COMMAND...`

The file is read as runc reads it (OCI runtime specification, Linux seccomp), and loaded by runc's library, libseccomp.
What the library does not know of this machine's calls is left out, as runc leaves it out.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
COMPARISONS: Final = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
"""scmp_compare of seccomp.h."""


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def load(profile: dict[str, Any]) -> None:
    """Put this process, and all that it starts, under the profile. OSError."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    refused = profile.get("defaultErrnoRet", errno.EPERM)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ERRNO | refused)))
    for rule in profile["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ALLOW"
        compared = (Comparison * len(rule.get("args", ())))(*map(_comparison, rule.get("args", ())))
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:  # __NR_SCMP_ERROR
                continue
            status = library.seccomp_rule_add_array(context, ctypes.c_uint32(ALLOW), number, len(compared), compared)
            if status not in {0, -errno.EDOM}:
                raise OSError(-status, f"cannot add the rule for {name}")
    status = library.seccomp_load(context)
    if status:
        raise OSError(-status, "cannot load the profile")


def _comparison(argument: dict[str, Any]) -> Comparison:
    """Of a masked one, `value` is the mask and `valueTwo` what is left."""
    operator = COMPARISONS[argument["op"]]
    return Comparison(argument["index"], operator, argument["value"], argument.get("valueTwo", 0))


if __name__ == "__main__":
    load(json.loads(Path(sys.argv[1]).read_text()))
    os.execvp(sys.argv[2], sys.argv[2:])
