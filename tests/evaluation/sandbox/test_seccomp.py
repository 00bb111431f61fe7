"""The filter's decisions on both machines, found by running its program as the kernel would; the kernel itself is in test_escapes."""

import re
import struct
from pathlib import Path

import pytest

from llmjp_jax.evaluation.sandbox.seccomp import (
    ALLOW,
    AUDIT_ARCHITECTURES,
    ERRNO,
    FATAL,
    KILL_PROCESS,
    NUMBERS,
    filter_program,
)

PID = 4242
DENIED, MISSING = ERRNO | 1, ERRNO | 38
machines = pytest.mark.parametrize("machine", AUDIT_ARCHITECTURES)


def decide(machine: str, name: str | int, *arguments: int, writable=True, architecture=None) -> int:
    """What the filter says of a system call: the BPF program run on seccomp's 64 bytes of data."""
    number = name
    if isinstance(name, str):
        number = NUMBERS[name][list(AUDIT_ARCHITECTURES).index(machine)]
    words = [number, architecture or AUDIT_ARCHITECTURES[machine], 0, 0]
    for argument in [*arguments, *[0] * (6 - len(arguments))]:
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    program = filter_program(machine, PID, writable)
    accumulator = at = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            accumulator = words[value // 4]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        elif code == 0x45:
            at += if_true if accumulator & value else if_false
        elif code == 0x06:
            return value
        else:
            raise AssertionError(f"instruction {code:#x}")


def exists(machine: str, name: str) -> bool:
    return NUMBERS[name][list(AUDIT_ARCHITECTURES).index(machine)] is not None


@machines
def test_reading_and_memory_are_allowed_and_getting_out_is_fatal(machine):
    for name in ("read", "write", "mmap", "futex", "exit_group", "getdents64", "newfstatat"):
        assert decide(machine, name) == ALLOW
    for name in FATAL:
        if exists(machine, name):
            assert decide(machine, name) == KILL_PROCESS, name


@machines
def test_what_no_list_names_is_denied(machine):
    named = {numbers[list(AUDIT_ARCHITECTURES).index(machine)] for numbers in NUMBERS.values()}
    for number in set(range(600)) - named:
        assert decide(machine, number) == DENIED
    assert decide("x86_64", 0x40000000 + 1) == DENIED  # the x32 calls' bit


@machines
def test_another_architectures_calls_are_fatal(machine):
    assert decide(machine, "read", architecture=0x40000003) == KILL_PROCESS


@machines
def test_threads_may_be_made_and_processes_not(machine):
    assert decide(machine, "clone", 0x3D0F00) == ALLOW  # as pthread_create calls it
    assert decide(machine, "clone", 0x1200011) == KILL_PROCESS  # as fork calls it
    assert decide(machine, "clone3") == MISSING


@machines
def test_signals_reach_itself_alone(machine):
    for name in ("kill", "tgkill"):
        assert decide(machine, name, PID, 9) == ALLOW
        for other in (1, 0, PID + 1, -1, -PID):
            assert decide(machine, name, other, 9) == KILL_PROCESS


@machines
def test_limits_may_be_read_and_not_set(machine):
    assert decide(machine, "prlimit64", 0, 7, 0, 0x7FFF00000000) == ALLOW
    for address in (0x1000, 0x7FFF00000000):
        assert decide(machine, "prlimit64", 0, 7, address, 0) == DENIED


@machines
@pytest.mark.parametrize("writable", [True, False])
def test_files_are_opened_for_writing_only_where_landlock_says_which(machine, writable):
    for flags in (0, 0o2000000, 0o200000, 0o4000):
        assert decide(machine, "openat", -100, 1, flags, writable=writable) == ALLOW
    openly = ALLOW if writable else DENIED
    for flags in (1, 2, 0o101, 0o1101, 0o1002, 0o100, 0o2101):
        assert decide(machine, "openat", -100, 1, flags, writable=writable) == openly
    for flags in (0o1000, 0o1003, 3, 0o1100):
        assert decide(machine, "openat", -100, 1, flags, writable=writable) == DENIED
    assert decide(machine, "unlinkat", writable=writable) == openly
    assert decide(machine, "renameat2" if machine == "x86_64" else "renameat", writable=writable) == openly  # fmt: skip


@machines
def test_a_file_cannot_be_made_to_signal_its_owner_nor_a_terminal_to_type(machine):
    assert decide(machine, "fcntl", 3, 2) == ALLOW
    for command in (8, 10, 15):  # F_SETOWN, F_SETSIG, F_SETOWN_EX
        assert decide(machine, "fcntl", 3, command) == DENIED
    assert decide(machine, "ioctl", 0, 0x5401) == ALLOW
    for request in (0x5412, 0x8901):  # TIOCSTI, FIOSETOWN
        assert decide(machine, "ioctl", 0, request) == DENIED


HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


@machines
def test_the_numbers_are_those_of_the_kernels_headers(machine):
    header = Path(HEADERS[machine])
    if not header.is_file():
        pytest.skip(f"the kernel's header {header} is not installed")
    theirs = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)\n", header.read_text())}  # fmt: skip
    theirs.setdefault("newfstatat", theirs.get("fstatat"))
    for name in NUMBERS:
        if exists(machine, name):
            assert NUMBERS[name][list(AUDIT_ARCHITECTURES).index(machine)] == theirs[name], name
