"""What a worker process may do once it has begun: compute, and talk to the server over the socket it was given.

It decodes what strangers send, by large libraries in C. So it gives up whatever it does not need: memory beyond a
bound, files, cores, and on Linux every system call but a few (seccomp, Documentation/userspace-api/seccomp_filter.rst):
it opens no file and no socket, starts no process and no thread, and touches no other process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_SIGKILL: Final = 9

_RET_ALLOW: Final = 0x7FFF0000
_RET_KILL: Final = 0x80000000
_RET_REFUSE: Final = 0x00050000 | 1  # the call fails with EPERM
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
"""Offsets in struct seccomp_data."""

_X86_64: Final = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "readv": 19, "writev": 20,
    "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45,
    "sendmsg": 46, "recvmsg": 47, "exit": 60, "getrusage": 98, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
    "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318,
}  # fmt: skip
_AARCH64: Final = {
    "ioctl": 29, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "ppoll": 73,
    "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101, "clock_gettime": 113,
    "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "getpid": 172, "gettid": 178, "sendto": 206,
    "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
    "mprotect": 226, "madvise": 233, "getrandom": 278,
}  # fmt: skip
_MACHINES: Final = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
"""AUDIT_ARCH and the numbers of the calls that stay allowed."""


def bound(memory_bytes: int, nice: int) -> None:
    """Resource limits, from here on: memory, and no byte into any file, core dumps included."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(nice)
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)  # RLIMIT_CORE does not keep a core from a program that collects them
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def confine() -> bool:
    """Gives up all other system calls, for good; whether that was possible. Whatever is imported must be by now."""
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or struct.calcsize("P") != 8:
        return False
    program = _program(machine[0], sorted(machine[1].values()))
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    filter_program = ctypes.create_string_buffer(header, len(header))
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return False
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_program))


def _program(machine: int, allowed: list[int]) -> bytes:
    """A filter of classic BPF: another machine's calls end the process, calls that are not allowed fail."""
    instructions = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_JUMP_IF_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _RET_KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for index, number in enumerate(allowed):
        instructions.append((_JUMP_IF_EQUAL, len(allowed) - index, 0, number))
    instructions += [(_RETURN, 0, 0, _RET_REFUSE), (_RETURN, 0, 0, _RET_ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _prctl(*arguments: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = [ctypes.c_ulong(argument) for argument in arguments]
    numbers += [ctypes.c_ulong(0)] * (5 - len(numbers))
    return int(libc.prctl(*numbers)) == 0
