"""Runs model-written code with its tests in a process of its own, and says whether they passed.

`run_code` is one run, `run_many` runs side by side. The new process puts its protection on before it sees the code
(`child.py`); what is watched from outside is here: wall clock, output, the folder's size, the number of threads.
Not for code that is trusted, nor for code that wants packages: only Python's own library is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.sandbox import protection
from llmjp_jax.evaluation.sandbox.seccomp import filter_program

_CHILD = Path(__file__).with_name("child.py")
_POLL_SECONDS = 0.05
_START_SECONDS = 60  # for the interpreter to come up on a machine under load
_VERDICT_BYTES = 4096
_MAX_FILES = 1000


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    seconds: wall clock from the first line of the code; CPU time is limited to the same, rounded up.
    memory, disk, output: bytes of address space, of all files in its folder (of one file an eighth), and of what it prints.
    threads: at the same time. open_files: at the same time.
    """

    seconds: float = 5.0
    memory: int = 512 << 20
    disk: int = 16 << 20
    output: int = 1 << 20
    threads: int = 16
    open_files: int = 32

    def __post_init__(self):
        smallest = {"seconds": 0, "memory": 64 << 20, "disk": 0, "output": 0, "threads": 1, "open_files": 16}  # fmt: skip
        for name, least in smallest.items():
            value = getattr(self, name)
            if value < least or (name == "seconds" and not 0 < value < 86400):
                at_least = (
                    "more than 0 and less than a day" if name == "seconds" else f"{least} or more"
                )
                raise UserError(f"Limits.{name} = {value} must be {at_least}")


@dataclass(frozen=True)
class Outcome:
    """Of one run: whether all tests passed, why not (or 'passed'), how long it took, and the start of what it printed."""

    passed: bool
    reason: str
    seconds: float
    output: str = field(default="", repr=False)


def run_code(code: str, tests: str, limits: Limits = Limits()) -> Outcome:
    """Runs `code` and then `tests` (statements that raise unless the code is right) in one fresh Python module.

    The process sees Python's own library and an empty folder that is deleted afterwards; no environment, no standard
    input, no network, no other program. It may use a few threads and, where the machine has Landlock, files in its
    folder (chmod, links and times of files excepted); without Landlock it can write no file at all. Strings hash the
    same in every run. `passed` needs a secret that the process writes only when the last test is done, so that exit
    codes, printed text, `sys.exit(0)` and changed builtins do not pass.

    Files that are removed while they are open no longer count in `disk`: such code holds up to `open_files` eighths of `disk` until
    it ends. Names and sizes of files elsewhere can be looked up, their contents not.

    What remains possible: code and tests share one interpreter, so code made for the purpose can find that secret
    in the interpreter's memory, or return objects that are equal to everything. Such code gets a wrong score for itself; it
    gets no further, as the kernel's filters hold for any machine code. The filters trust the kernel.

    Raises UserError where the machine cannot protect itself, or without tests; nothing has been run then.
    """
    if not tests.strip():
        raise UserError("there are no tests to run: code without tests would pass whatever it does; give at least one")  # fmt: skip
    job, user = _job(code, tests, limits)
    with _private_folder(user) as folder:
        job["folder"] = str(folder)
        reader, writer = os.pipe()
        try:
            process = _start(folder, writer)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        try:
            return _Watch(process, reader, folder, limits, job["nonce"].encode()).outcome(job)
        finally:
            # It is alone: it could start no other process.
            process.kill()
            process.wait()
            os.close(reader)
            process.stdout.close()
            with contextlib.suppress(OSError):
                process.stdin.close()


def run_many(
    items: Iterable[tuple[str, str]],
    limits: Limits = Limits(),
    workers: int | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """`run_code` of each (code, tests), in their order, `workers` at a time (default: one a core), with a progress bar.

    Raises UserError as `run_code` does.
    """
    from tqdm import tqdm

    protection.machine()
    items = list(items)
    workers = workers or len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        runs = pool.map(lambda item: run_code(*item, limits), items)
        return list(tqdm(runs, total=len(items), desc="code", unit="run", disable=not progress))
    finally:
        # At an interrupt or a refusal: those that run are short, the others do not start.
        pool.shutdown(wait=True, cancel_futures=True)


def _job(code: str, tests: str, limits: Limits) -> tuple[dict, int | None]:
    """What the child is told, less its folder and its process number; and the user that it becomes, if any."""
    protection.machine()
    user = None
    if os.geteuid() == 0 and protection.nobody_can_run(protection.folders_parent()):
        user = protection.NOBODY
    cpu_seconds = -(-limits.seconds // 1)
    return {
        "code": code,
        "tests": tests,
        "nonce": secrets.token_hex(32),
        "parent": os.getpid(),
        "user": user,
        "landlock_abi": protection.landlock_abi(),
        "limits": {
            "RLIMIT_CPU": int(cpu_seconds),
            "RLIMIT_AS": limits.memory,
            # What is removed while it is open no longer counts in `disk`; this bounds it, with `open_files`.
            "RLIMIT_FSIZE": limits.disk // 8,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_STACK": 8 << 20,
            "RLIMIT_CORE": 0,
        },
    }, user  # fmt: skip


def _start(folder: Path, verdict: int) -> subprocess.Popen:
    # One arena: glibc sets 64 MiB of addresses aside for each thread otherwise, and they count as memory.
    environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "1"}
    # Some Pythons find their own library only through it; the child clears all of it before the code runs.
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    try:
        return subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", "-B", str(_CHILD), str(verdict)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(verdict,),
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise protection.refused(f"{sys.executable or 'no Python'} does not start: {error}") from error  # fmt: skip


class _Watch:
    """Sees one process through from its start to its verdict."""

    def __init__(
        self, process: subprocess.Popen, verdict: int, folder: Path, limits: Limits, nonce: bytes
    ):
        self.process, self.verdict, self.folder = process, verdict, folder
        self.limits, self.nonce = limits, nonce
        self.said, self.printed = bytearray(), bytearray()

    def outcome(self, job: dict) -> Outcome:
        self._begin(job)
        started = time.monotonic()
        stopped = self._wait(started + self.limits.seconds)
        seconds = time.monotonic() - started
        passed = stopped is None and bytes(self.said) == self.nonce + b"\n"
        reason = "passed" if passed else stopped or self._why(seconds)
        return Outcome(passed, reason, seconds, self.printed.decode("utf-8", "replace"))

    def _begin(self, job: dict) -> None:
        """Hands the job over and waits until the protection stands; raises UserError if it does not."""
        machine = protection.machine()
        program = filter_program(machine, self.process.pid, bool(job["landlock_abi"]))
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({**job, "filter": program.hex()}).encode())
            self.process.stdin.close()
        deadline = time.monotonic() + _START_SECONDS
        line = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self.verdict, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    raise protection.refused(f"it was not ready after {_START_SECONDS} seconds")
                # Byte by byte: what follows this line belongs to the verdict.
                byte = os.read(self.verdict, 1)
                if not byte:
                    break
                line += byte
        if line != b"ready\n":
            said = line.decode("utf-8", "replace").removeprefix("refused ").strip()
            if not said:
                self.process.kill()
                said = os.read(self.process.stdout.fileno(), 2000).decode("utf-8", "replace").strip()  # fmt: skip
                said = (said.splitlines() or ["the new process ended without a word"])[-1]
            raise protection.refused(said)

    def _wait(self, deadline: float) -> str | None:
        """Reads verdict and output until the process has ended; returns why it was stopped before, if it was."""
        pipes = {self.verdict: self.said, self.process.stdout.fileno(): self.printed}
        with selectors.DefaultSelector() as ready:
            for pipe in pipes:
                ready.register(pipe, selectors.EVENT_READ)
            while True:
                left = min(deadline - time.monotonic(), _POLL_SECONDS)
                if left <= 0:
                    return self._late()
                if not ready.get_map():
                    # It closed both: mostly because it has ended.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.process.wait(left)
                        return None
                for key, _ in ready.select(left) if ready.get_map() else ():
                    part = os.read(key.fd, 1 << 16)
                    pipes[key.fd].extend(part)
                    if not part:
                        ready.unregister(key.fd)
                broken = self._too_much()
                if broken is not None:
                    return broken

    def _too_much(self) -> str | None:
        """What the kernel's limits do not count: words, threads, and all files of the folder together."""
        limits = self.limits
        if len(self.said) > _VERDICT_BYTES:
            return "stopped: it wrote to the verdict's pipe"
        if len(self.printed) > limits.output:
            del self.printed[limits.output :]
            return f"stopped: it printed more than {limits.output} bytes"
        with contextlib.suppress(OSError):
            # A folder's links are itself, its name, and one for each folder in it: here, each thread.
            if Path(f"/proc/{self.process.pid}/task").stat().st_nlink - 2 > limits.threads:
                return f"stopped: it ran more than {limits.threads} threads"
        size = 0
        for files, entry in enumerate(_entries(self.folder), start=1):
            if entry is None:
                return "stopped: it made folders that cannot be looked into"
            if files > _MAX_FILES:
                return f"stopped: it made more than {_MAX_FILES} files"
            with contextlib.suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
            # Folders take blocks too: a page each, and more where it is long.
            if size > limits.disk + (1 << 20):
                return f"stopped: its files took more than {limits.disk} bytes"
        return None

    def _late(self) -> str:
        return f"timed out: it ran longer than {self.limits.seconds:g} seconds"

    def _why(self, seconds: float) -> str:
        """The sentence for a process that ended by itself and did not pass."""
        said = self.said.decode("utf-8", "replace").strip()
        code = self.process.returncode
        if said.startswith(("failed: ", "stopped: ")):
            return " ".join(said.split())[:500]
        if code == -signal.SIGSYS:
            return "stopped: it made a system call that is forbidden (a socket, a process, a signal to another process)"  # fmt: skip
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and seconds >= self.limits.seconds * 0.9):  # fmt: skip
            return self._late()
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return f"failed: the process died of {name} before the tests were done"
        return f"failed: the process ended with exit code {code} before the tests were done"


def _entries(folder: Path) -> Iterator[os.DirEntry | None]:
    """All files and folders below `folder`; None for one that cannot be opened: too deep, or made so."""
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue  # removed in between
        except OSError:
            yield None


@contextlib.contextmanager
def _private_folder(user: int | None) -> Iterator[Path]:
    """An empty folder that belongs to `user` and is gone afterwards, whatever was made of it."""
    folder = Path(tempfile.mkdtemp(prefix="run_code_", dir=protection.folders_parent()))
    try:
        if user is not None:
            os.chown(folder, user, user)
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        except (OSError, RecursionError):
            # Folders without rights, or nested deeper than rmtree can follow.
            subprocess.run(["chmod", "-R", "u+rwX", str(folder)], capture_output=True)
            subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True)
