"""The system calls that change what others see, and the filter that has a process ask before it makes one."""

from __future__ import annotations

import ctypes
import os
from typing import Final

CALLS: Final = {
    1: "write",
    18: "pwrite64",
    20: "writev",
    44: "sendto",
    46: "sendmsg",
    49: "bind",
    59: "execve",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    88: "symlink",
    90: "chmod",
    91: "fchmod",
    257: "openat",
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    268: "fchmodat",
    316: "renameat2",
}
"""By their numbers on x86-64 (linux/arch/x86/entry/syscalls/syscall_64.tbl); of openat only what may make a file."""
_SECCOMP: Final = 317
_NEW_LISTENER: Final = 1 << 3
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def install_filter() -> None:
    """From here on the calls of this process and its children wait for the listener."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
    opens, others = 257, [number for number in CALLS if number != 257]
    code = [(load, 0, 0, 0)]
    for index, number in enumerate(others):
        code.append((equal, len(others) - index + 2, 0, number))
    code += [(equal, 0, 3, opens), (load, 0, 0, 32), (any_bit, 0, 1, os.O_CREAT)]
    code += [(answer, 0, 0, _NOTIFY), (answer, 0, 0, _ALLOW)]
    filled = (_Instruction * len(code))(*(_Instruction(*one) for one in code))
    program = _Program(len(code), filled)
    if _libc.syscall(_SECCOMP, 1, _NEW_LISTENER, ctypes.byref(program)) < 0:
        raise OSError(ctypes.get_errno(), "cannot install a seccomp filter")
