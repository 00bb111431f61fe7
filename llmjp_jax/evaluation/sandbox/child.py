"""The process that model-written code runs in: puts the protection on, runs code and tests, reports, ends.

Run as a script by `run.py`, never imported: it uses the standard library alone and must not find this package. Its job
comes as JSON on standard input; the numbers in it come from `seccomp.py` and `protection.py`. On the verdict pipe it
writes the line `ready` when every layer stands (anything else before that is a refusal), and at the end either the
job's nonce, which means that all tests passed, or a sentence. The nonce lives in local variables of frames below the
code's own: code that looks for it by walking frames or memory can find it.
"""
# pathlib would take longer to import than all the rest.
# ruff: noqa: PTH110, PTH112, PTH118, PTH123

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import types

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION = 0x20080522
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_RULE_PATH_BENEATH = 1

# Rights of Landlock, linux/landlock.h: (bit, first version that knows it).
READ_FILE, READ_DIR = 1 << 2, 1 << 3
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, REFER = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 13
ALL_RIGHTS = {
    1: (1 << 13) - 1,
    2: (1 << 14) - 1,
    3: (1 << 15) - 1,
    4: (1 << 15) - 1,
    5: (1 << 16) - 1,
}
NETWORK_RIGHTS, SCOPES = 0b11, 0b11  # bind and connect of TCP (4); abstract sockets and signals (6)

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SOCKETS = {"socket.__new__", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
PROCESSES = {"os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system", "subprocess.Popen", "pty.spawn"}  # fmt: skip
# Audit events that change a file: how many of their first arguments are paths.
FILE_CHANGES = {
    "os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.mkdir": 1, "os.chmod": 1, "os.chown": 1, "os.link": 2,
    "os.symlink": 2, "os.truncate": 1, "os.utime": 1, "os.setxattr": 1, "os.removexattr": 1,
    "shutil.rmtree": 1,
}  # fmt: skip


def main() -> None:
    verdict = int(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())
    try:
        protect(job)
    except OSError as error:
        os.write(verdict, f"refused {error}\n".encode())
        os._exit(3)
    os.environ.clear()
    os.environ.update(TMPDIR=job["folder"], HOME=job["folder"], TZ="UTC")
    sys.argv = ["code.py"]
    os.write(verdict, b"ready\n")
    sys.addaudithook(watcher(verdict, job["folder"]))
    run(verdict, job["code"], job["tests"], job["nonce"].encode())


def protect(job: dict) -> None:
    """Puts on limits, Landlock, the user without rights and the filter of system calls, in this order."""
    libc = ctypes.CDLL(None, use_errno=True)
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if job["landlock_abi"]:
        landlock(libc, job["landlock_abi"], job["folder"])
    if job["user"] is not None:
        try:
            os.setgroups([])
        except PermissionError:
            with open("/proc/self/setgroups") as file:
                if file.read().strip() != "deny":
                    raise
        os.setresgid(job["user"], job["user"], job["user"])
        os.setresuid(job["user"], job["user"], job["user"])
    # No capabilities: none effective, permitted or inheritable.
    call(libc.capset, struct.pack("<Ii", CAPABILITY_VERSION, 0), bytes(24))
    call(libc.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Changing the user cleared it, so it comes after; the parent may have died in between.
    call(libc.prctl, PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != job["parent"]:
        os._exit(4)
    program = bytes.fromhex(job["filter"])
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    call(libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)


def landlock(libc, abi: int, folder: str) -> None:
    """Lets this process read Python's library, write in `folder`, and open no other file."""
    everything = ALL_RIGHTS[min(abi, 5)]
    sizes = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}
    attributes = struct.pack("<QQQ", everything, NETWORK_RIGHTS, SCOPES)[: sizes.get(abi, 24)]
    rules = call(libc.syscall, LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)  # fmt: skip
    writing = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER  # fmt: skip
    grants = [
        (folder, writing & everything),
        ("/dev/null", (READ_FILE | WRITE_FILE | TRUNCATE) & everything),
    ]
    grants += [(path, READ_FILE | READ_DIR) for path in readable_folders()]
    grants += [(path, READ_FILE) for path in ("/dev/urandom", "/dev/zero", "/etc/ld.so.cache", "/etc/localtime")]  # fmt: skip
    for path, rights in grants:
        if not os.path.exists(path):
            continue
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("<Qi", rights, place)
        call(libc.syscall, LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(place)
    call(libc.syscall, LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


def readable_folders() -> set[str]:
    """Python's library, the system's shared libraries and the time zones."""
    libraries = {path for path in sys.path if os.path.isdir(path)}
    libraries |= {os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_exec_prefix, "lib")}
    return libraries | {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo"}


def call(function, *arguments) -> int:
    """Calls a function of libc, whose plain integers are passed as C longs; raises OSError if it says -1."""
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = function(*converted)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}{arguments[:1]}: {os.strerror(number)}")
    return result


def watcher(verdict: int, folder: str):
    """An audit hook that names what the kernel is about to stop, and ends the run even if the code caught the error.

    It judges the run; it protects nothing, and code that goes around it still meets the kernel.
    """
    end, write, getpid = os._exit, os.write, os.getpid
    inside = os.path.realpath(folder)
    real_path, decode = os.path.realpath, os.fsdecode

    def stop(what: str) -> None:
        write(verdict, f"stopped: {what}\n".encode("utf-8", "replace"))
        end(1)

    def outside(path) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        path = real_path(decode(path))
        return path not in (inside, "/dev/null") and not path.startswith(inside + "/")

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(flags, int) and flags & WRITING and outside(path):
                stop(f"it tried to write {decode(path)!r:.100}, outside its folder")
        elif event in FILE_CHANGES:
            paths = arguments[: FILE_CHANGES[event]]
            for path in paths:
                if outside(path):
                    stop(f"it called {event} on {decode(path)!r:.100}, outside its folder")
        elif event in SOCKETS:
            stop("it tried to open a socket")
        elif event in PROCESSES:
            stop("it tried to start a process")
        elif event in ("os.kill", "os.killpg") and arguments[0] != getpid():
            stop("it tried to signal another process")

    return watch


def run(verdict: int, code: str, tests: str, nonce: bytes) -> None:
    """Runs `code`, then `tests` in the same module, writes the verdict and ends the process at once.

    What writes the verdict is taken before the code runs, so that a changed builtin can lose a verdict and not make one.
    """
    end, write, execute, flush = os._exit, os.write, exec, sys.stdout.flush
    describe, settrace, setprofile = describe_error, sys.settrace, sys.setprofile
    module = types.ModuleType("__main__")
    own, sys.modules["__main__"] = sys.modules["__main__"], module  # noqa: F841  kept alive
    namespace = module.__dict__
    part = "the code does not compile"
    message = nonce
    try:
        compiled = compile(code, "code.py", "exec", dont_inherit=True)
        part = "the tests do not compile"
        compiled_tests = compile(tests, "tests.py", "exec", dont_inherit=True)
        part = "the code"
        execute(compiled, namespace)
        part = "a test"
        settrace(None)
        setprofile(None)
        execute(compiled_tests, namespace)
    except BaseException as error:
        message = describe(part, error, tests)
    with contextlib.suppress(BaseException):
        flush()
    write(verdict, message + b"\n")
    end(0)


def describe_error(part: str, error: BaseException, tests: str) -> bytes:
    """One line of what ended the run; the text of an exception is the code's own and may be anything."""
    kind = type(error).__name__
    if part.endswith("compile"):
        sentence = f"{part}: {kind}"
    elif isinstance(error, MemoryError):
        sentence = f"{part} ran out of memory"
    elif isinstance(error, SystemExit | KeyboardInterrupt):
        sentence = f"{part} raised {kind} before the tests were done"
    else:
        sentence = f"{part} raised {kind}"
    line = error.__traceback__
    while line is not None and line.tb_frame.f_code.co_filename != "tests.py":
        line = line.tb_next
    if line is not None:
        sentence += f" at `{tests.splitlines()[line.tb_lineno - 1].strip():.100}`"
    try:
        text = str(error)
    except BaseException:
        text = ""
    if text and not isinstance(error, MemoryError):
        sentence += f": {text:.200}"
    return b"failed: " + sentence.encode("utf-8", "replace")


if __name__ == "__main__":
    main()
