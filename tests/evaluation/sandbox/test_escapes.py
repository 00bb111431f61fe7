"""Model-written code cannot get out: no process, program, socket or signal, no file changed or secret read outside.

Each is tried from Python, where the audit hook names it, and by libc's functions, where only the kernel can stop it; and
each with Landlock and without. The code is bounded in itself, so that a sandbox that is broken breaks nothing here.
"""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.evaluation.sandbox.conftest import LIBC, run


@pytest.fixture
def outside(tmp_path):
    """A folder that anyone may change, with a file; what it holds must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    file = folder / "file.txt"
    file.write_text("untouched")
    file.chmod(0o666)
    for parent in folder.parents:
        if parent == Path("/tmp") or not os.access(parent, os.W_OK):
            break
        parent.chmod(parent.stat().st_mode | 0o011)
    yield folder
    assert [path.name for path in folder.iterdir()] == ["file.txt"]
    assert file.read_text() == "untouched"
    assert file.stat().st_mode & 0o777 == 0o666


PROCESSES = {
    "fork": "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        time.sleep(2); os._exit(0)",
    "fork behind the hook": LIBC
    + "for _ in range(5):\n    if libc.fork() == 0:\n        libc.sleep(2); os._exit(0)",
    "vfork": LIBC + "if libc.vfork() == 0: os._exit(0)",
    "program": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'echo ran'])",
    "shell": "import os\nos.system('echo ran')",
    "shell behind the hook": LIBC + "libc.system(b'echo ran')",
    "exec": "import os\nos.execv('/bin/echo', ['echo', 'ran'])",
    "exec behind the hook": LIBC
    + "libc.execv(b'/bin/echo', (ctypes.c_char_p * 3)(b'echo', b'ran', None))",
    "posix_spawn": "import os\nos.posix_spawn('/bin/echo', ['echo', 'ran'], {})",
    "multiprocessing": "import multiprocessing\nmultiprocessing.Process(target=print, args=('ran',)).start()",
}


@pytest.mark.parametrize("code", PROCESSES.values(), ids=PROCESSES)
def test_starting_a_process_is_stopped(code, layers):
    outcome = run(f"try:\n{textwrap.indent(code, '    ')}\nexcept Exception: pass")
    assert not outcome.passed
    assert outcome.reason.startswith("stopped: it ")
    assert "ran" not in outcome.output


@pytest.mark.parametrize("fork", ["os.fork()", "libc.fork()"])
def test_a_daemon_does_not_outlive_the_run(fork, outside):
    code = LIBC + textwrap.dedent(f"""
        import time
        if {fork} == 0:
            libc.setsid()
            if {fork} == 0:
                time.sleep(0.5)
                open({str(outside / "late.txt")!r}, "w").write("alive")
            os._exit(0)
    """)
    assert not run(code).passed
    time.sleep(1)
    assert not (outside / "late.txt").exists()


@pytest.fixture
def server():
    """A real server on this machine: (port, addresses of those that connected)."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        visitors = []

        def accept():
            try:
                while True:
                    connection, address = listening.accept()
                    visitors.append(address)
                    connection.close()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1], visitors
        listening.shutdown(socket.SHUT_RDWR)


SOCKETS = {
    "connect": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)",
    "connect behind the hook": LIBC
    + "import struct, socket as s\nfd = libc.socket(2, 1, 0)\nlibc.connect(fd, struct.pack('<H', 2) + struct.pack('>H', PORT) + bytes([127, 0, 0, 1]) + bytes(8), 16)",
    "listen": "import socket\nsocket.create_server(('127.0.0.1', 0))",
    "datagram": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "unix": "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0name')",
    "web page": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT/', timeout=1)",
    "host name": "import socket\nsocket.getaddrinfo('example.com', 80)",
    "io_uring": LIBC + "libc.syscall(425, 8, bytes(120))",
}


@pytest.mark.parametrize("code", SOCKETS.values(), ids=SOCKETS)
def test_opening_a_socket_is_stopped(code, server, layers):
    port, visitors = server
    code = textwrap.indent(code.replace("PORT", str(port)), "    ")
    outcome = run(f"try:\n{code}\nexcept Exception: pass")
    assert not outcome.passed
    assert outcome.reason.startswith("stopped: it ")
    # The server does answer: one visit of our own, and none before it.
    socket.create_connection(("127.0.0.1", port), 5).close()
    deadline = time.monotonic() + 5
    while not visitors and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(visitors) == 1


CHANGES = {
    "write": "open(FILE, 'w').write('changed')",
    "append": "open(FILE, 'a').write('changed')",
    "create": "open(FOLDER + '/new.txt', 'x')",
    "os.open": "os.open(FOLDER + '/new.txt', os.O_CREAT | os.O_WRONLY)",
    "dots": "open(os.path.relpath(FILE), 'w').write('changed')",
    "symbolic link": "os.symlink(FILE, 'link')",
    "remove": "os.remove(FILE)",
    "rename": "os.rename(FILE, 'mine.txt')",
    "replace": "os.replace('mine.txt', FILE)",
    "make a folder": "os.mkdir(FOLDER + '/new')",
    "remove a folder": "import shutil; shutil.rmtree(FOLDER)",
    "chmod": "os.chmod(FILE, 0o777)",
    "truncate": "os.truncate(FILE, 0)",
    "hard link": "os.link(FILE, 'mine.txt')",
    "times": "os.utime(FILE, (1, 1))",
    "pathlib": "import pathlib; pathlib.Path(FILE).write_text('changed')",
    "temporary file": "import tempfile; tempfile.NamedTemporaryFile(dir=FOLDER, delete=False)",
}


@pytest.mark.parametrize("code", CHANGES.values(), ids=CHANGES)
def test_writing_outside_its_folder_is_stopped_and_fails_though_the_error_is_caught(
    code, outside, layers
):
    names = f"import os\nFOLDER = {str(outside)!r}\nFILE = FOLDER + '/file.txt'\n"
    outcome = run(f"{names}try:\n    {code}\nexcept OSError: pass")
    assert not outcome.passed
    assert outcome.reason.startswith("stopped: it ") and "outside its folder" in outcome.reason


KERNEL_CHANGES = {
    "creat": "libc.creat(FILE, 0o666)",
    "open": "libc.open(FILE, 0o1001)",
    "open for reading that empties": "libc.open(FILE, 0o1000)",
    "open with both access bits": "libc.open(FILE, 0o1003)",
    "openat2": "libc.syscall(437, -100, FILE, (ctypes.c_uint64 * 3)(0o1001, 0, 0), 24)",
    "unlink": "libc.unlink(FILE)",
    "rename": "libc.rename(FILE, b'mine.txt')",
    "link and write": "libc.link(FILE, b'mine.txt'); libc.creat(b'mine.txt', 0o666)",
    "symlink and write": "libc.symlink(FILE, b'mine.txt'); libc.creat(b'mine.txt', 0o666)",
    "chmod": "libc.chmod(FILE, 0o777)",
    "chown": "libc.chown(FILE, 1, 1)",
    "truncate": "libc.truncate(FILE, 0)",
    "mkdir": "libc.mkdir(FOLDER + b'/new', 0o777)",
    "mknod": "libc.mknod(FOLDER + b'/new', 0o10666, 0)",
    "mkfifo": "libc.mkfifo(FOLDER + b'/new', 0o666)",
}


@pytest.mark.parametrize("code", KERNEL_CHANGES.values(), ids=KERNEL_CHANGES)
def test_the_kernel_lets_nothing_outside_be_changed_behind_the_hook(code, outside, layers):
    names = f"FOLDER = {os.fsencode(outside)!r}\nFILE = FOLDER + b'/file.txt'\n"
    code = f"print({code.split(';')[0]})\n" + ";".join(code.split(";")[1:]).strip()
    outcome = run(LIBC + names + code + "\nprint('tried')")
    assert "tried" in outcome.output, outcome.reason
    assert outcome.output.startswith("-1")


def test_secrets_of_the_environment_are_not_there(monkeypatch, layers):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = f"""
        import os
        print(sorted(os.environ))
        for pid in ("self", {os.getpid()}):
            try: print(open(f"/proc/{{pid}}/environ").read())
            except OSError as error: print(error)
    """
    outcome = run(code)
    assert outcome.passed and outcome.output.startswith("['HOME', 'TMPDIR', 'TZ']\n")
    assert "secret" not in outcome.output


def test_other_files_cannot_be_read_where_there_is_landlock(outside, landlock):
    outcome = run(f"open({str(outside / 'file.txt')!r}).read()")
    assert outcome.reason.startswith("failed: the code raised PermissionError")
    assert "PermissionError" in run("import os\nos.listdir('/')").reason


@pytest.mark.parametrize(
    "code", ["import os\nos.kill(PID, 9)", LIBC + "libc.kill(PID, 9)", LIBC + "libc.syscall(62, -1, 0)",
             "import fcntl, os, signal\nr, w = os.pipe()\nfcntl.fcntl(r, 10, 9)\nfcntl.fcntl(r, fcntl.F_SETOWN, PID)"],
    ids=["kill", "kill behind the hook", "kill all", "by a file's owner"],
)  # fmt: skip
def test_other_processes_cannot_be_signalled(code):
    victim = subprocess.Popen(["sleep", "30"])
    try:
        assert not run(code.replace("PID", str(victim.pid))).passed
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_other_processes_cannot_be_traced_and_the_machine_not_changed():
    for call in ("libc.ptrace(16, 1, 0, 0)", "libc.mount(b'/', b'/tmp', None, 4096, None)", "libc.unshare(0x10000000)", "libc.chroot(b'/')"):  # fmt: skip
        assert run(LIBC + call).reason.startswith("stopped: "), call


def test_the_filter_and_the_limits_cannot_be_taken_off():
    code = LIBC + textwrap.dedent("""
        import resource
        for change in (lambda: resource.setrlimit(resource.RLIMIT_CPU, (100, 100)), lambda: os.setuid(0), lambda: os.setgroups([0])):
            try: change()
            except (OSError, ValueError): continue
            raise SystemError("it could")
        assert libc.prctl(22, 0, 0, 0, 0) == -1
    """)
    outcome = run(code)
    assert outcome.passed, outcome.reason


def test_no_process_is_left_when_the_one_that_asked_is_killed(tmp_path):
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\nfrom llmjp_jax.evaluation.sandbox import *\nrun_code('import time; time.sleep(30)', 'pass', Limits(seconds=30))"
    asker = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TMPDIR": str(tmp_path)})  # fmt: skip
    child = None
    deadline = time.monotonic() + 20
    while child is None and time.monotonic() < deadline:
        for line in Path(f"/proc/{asker.pid}/task/{asker.pid}/children").read_text().split():
            # Wait until the filter is on: the kernel shows it.
            if "Seccomp:\t2" in Path(f"/proc/{line}/status").read_text():
                child = int(line)
        time.sleep(0.01)
    assert child is not None
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
