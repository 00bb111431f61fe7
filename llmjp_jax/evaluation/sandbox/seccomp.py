"""The filter of system calls that model-written code runs under, as a classic BPF program for Linux's seccomp.

Three lists of names and one table of numbers. What is not allowed fails with EPERM; what only code that tries to get
out would call (sockets, processes, programs, other processes' memory and signals, mounts) ends the process. A filter sees
numbers, never path strings, so *where* files are written is Landlock's part (`child.py`); without Landlock the filter
lets no file be written at all.

Sources: the kernel's seccomp(2) and its tables of system calls, arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import errno
import struct

AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

KILL_PROCESS, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06

# name: (x86_64, aarch64); None where that machine has no such call.
# fmt: off
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # reading, writing and memory of what is open already
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "preadv": (295, 69), "pwritev": (296, 70), "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59),
    "fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46), "fadvise64": (221, 223), "flock": (73, 32),
    "sendfile": (40, 71), "copy_file_range": (326, 285),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "msync": (26, 227), "brk": (12, 214),
    # looking at files
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "getdents64": (217, 61), "readlink": (89, None),
    "readlinkat": (267, 78), "umask": (95, 166),
    # waiting, time, signals to itself
    "select": (23, None), "pselect6": (270, 72), "poll": (7, None), "ppoll": (271, 73), "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22), "eventfd2": (290, 19),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getrusage": (98, 165),
    "setitimer": (38, 103), "getitimer": (36, 102), "alarm": (37, None), "pause": (34, None),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "wait4": (61, 260), "waitid": (247, 95), "exit": (60, 93), "exit_group": (231, 94),
    # who and where it is, threads, random numbers
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156),
    "getpriority": (140, 141), "uname": (63, 160), "sysinfo": (99, 179), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120), "getcpu": (309, 168),
    "membarrier": (324, 283), "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293),
    "arch_prctl": (158, None), "set_tid_address": (218, 96), "getrandom": (318, 278),
    # changing files and folders: only where Landlock says which
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "creat": (85, None),
    # by their arguments
    "open": (2, None), "openat": (257, 56), "fcntl": (72, 25), "ioctl": (16, 29), "kill": (62, 129),
    "tgkill": (234, 131), "clone": (56, 220), "clone3": (435, 435), "prlimit64": (302, 261),
    # the end of the run
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "recvfrom": (45, 207), "recvmsg": (47, 212), "fork": (57, None), "vfork": (58, None), "execve": (59, 221),
    "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
}
# fmt: on

CHANGES_FILES = "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 creat".split()
BY_ARGUMENT = "open openat fcntl ioctl kill tgkill clone clone3 prlimit64".split()
FATAL = (
    "socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmsg fork vfork execve "
    "execveat ptrace process_vm_readv process_vm_writev pidfd_open pidfd_send_signal pidfd_getfd mount umount2 "
    "pivot_root chroot unshare setns io_uring_setup bpf perf_event_open userfaultfd keyctl add_key request_key "
    "init_module finit_module delete_module reboot"
).split()
ALLOWED = [name for name in NUMBERS if name not in {*CHANGES_FILES, *BY_ARGUMENT, *FATAL}]

_CREATE, _TRUNCATE, _ACCESS_MODE = 0o100, 0o1000, 0o3  # of open(2), the same on both machines
_CLONE_THREAD = 0x10000
# F_DUPFD to F_SETFL, the three record locks, F_DUPFD_CLOEXEC. F_SETOWN and F_SETSIG would signal any process.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. TIOCSTI would type into a terminal.
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)


def filter_program(machine: str, pid: int, writable: bool) -> bytes:
    """The BPF program, 8 bytes an instruction, for a process `pid` on `machine` ('x86_64' or 'aarch64').

    With `writable` files may be opened for writing, removed and renamed, and Landlock must say where; without, never.
    Raises KeyError for another machine.
    """
    column = list(AUDIT_ARCHITECTURES).index(machine)
    denied = ERRNO | errno.EPERM
    rules = {name: [_return(ALLOW)] for name in ALLOWED}
    rules |= {name: [_return(ALLOW if writable else denied)] for name in CHANGES_FILES}
    rules |= {name: [_return(KILL_PROCESS)] for name in FATAL}
    rules |= {
        "open": _opening(1, writable),
        "openat": _opening(2, writable),
        "fcntl": _one_of(1, _FCNTL, denied),
        "ioctl": _one_of(1, _IOCTL, denied),
        "kill": _one_of(0, (pid,), KILL_PROCESS),
        "tgkill": _one_of(0, (pid,), KILL_PROCESS),
        # The new limits' address, which is null when they are only read: its two halves.
        "prlimit64": [_load(2), _jump(_JUMP_EQUAL, 0, 0, 3), _load(2, high=True), *_among((0,), denied)],
        "clone": [_load(0), _jump(_JUMP_SET, _CLONE_THREAD, 0, 1), _return(ALLOW), _return(KILL_PROCESS)],
        # Its flags lie in memory, which a filter cannot read: libc falls back to clone.
        "clone3": [_return(ERRNO | errno.ENOSYS)],
    }  # fmt: skip
    program = [
        _instruction(_LOAD, 4),
        _jump(_JUMP_EQUAL, AUDIT_ARCHITECTURES[machine], 1, 0),
        _return(KILL_PROCESS),
        _instruction(_LOAD, 0),
    ]
    for name, body in rules.items():
        number = NUMBERS[name][column]
        if number is not None:
            program += [_jump(_JUMP_EQUAL, number, 0, len(body)), *body]
    return b"".join([*program, _return(denied)])


def _opening(flags: int, writable: bool) -> list[bytes]:
    """Allows an open whose argument `flags` writes nothing, or says openly that it writes.

    An open for reading that also empties the file is something that early Landlock does not see.
    """
    denied = ERRNO | errno.EPERM
    if not writable:
        bits = _ACCESS_MODE | _CREATE | _TRUNCATE
        return [_load(flags), _jump(_JUMP_SET, bits, 0, 1), _return(denied), _return(ALLOW)]
    read, write, both = 0, 1, 2
    open_writes = (read, write, both, write | _TRUNCATE, both | _TRUNCATE)
    masked = _instruction(_AND, _ACCESS_MODE | _TRUNCATE)
    return [_load(flags), masked, *_among(open_writes, denied)]


def _one_of(argument: int, values: tuple[int, ...], otherwise: int) -> list[bytes]:
    return [_load(argument), *_among(values, otherwise)]


def _among(values: tuple[int, ...], otherwise: int) -> list[bytes]:
    """Allows the loaded word if it is one of `values`."""
    allowed = [(_jump(_JUMP_EQUAL, value, 0, 1), _return(ALLOW)) for value in values]
    return [*(part for pair in allowed for part in pair), _return(otherwise)]


def _load(argument: int, high: bool = False) -> bytes:
    """Loads the low (or high) 32 bits of an argument; both machines are little-endian."""
    return _instruction(_LOAD, 16 + 8 * argument + (4 if high else 0))


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _instruction(code: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, 0, 0, value)
