"""Only code that passes its tests passes, within its limits of time, memory, disk and output.

The code here is bounded in itself (memory, files), so that a sandbox that is broken does not break the machine.
"""

import sys
import textwrap
import time
from pathlib import Path

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.sandbox import Limits, protection, protection_layers, run_code, run_many
from tests.evaluation.sandbox.conftest import FAST, LIBC, RIGHT, TESTS, run


def test_right_code_passes_and_takes_about_a_tenth_of_a_second():
    run(RIGHT)
    started = time.monotonic()
    outcome = run_code(RIGHT, TESTS)
    assert (outcome.passed, outcome.reason) == (True, "passed")
    assert time.monotonic() - started < 1  # generous: it shares the machine


def test_a_wrong_answer_names_the_test_that_failed():
    outcome = run_code("def double(x): return x * x", TESTS)
    assert not outcome.passed
    assert outcome.reason == "failed: a test raised AssertionError at `assert double(-1) == -2`"


def test_usual_python_works(layers):
    code = """
        import asyncio, collections, dataclasses, datetime, heapq, json, math, pickle, random, re, sqlite3, threading
        import decimal, zoneinfo
        Point = collections.namedtuple("Point", "x y")
        @dataclasses.dataclass
        class Node:
            value: int
        assert pickle.loads(pickle.dumps(Node(3))) == Node(3)
        found = []
        threads = [threading.Thread(target=found.append, args=(i,)) for i in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert sorted(found) == [0, 1, 2, 3]
        assert __name__ == "__main__"
        datetime.datetime.now(); random.random(); math.sqrt(2)
    """
    outcome = run(code)
    assert outcome.passed, outcome.reason


def test_code_may_write_in_its_own_folder_where_landlock_says_which(landlock):
    code = """
        import os, tempfile
        os.mkdir("folder")
        with open("folder/file", "w") as file: file.write("text")
        os.rename("folder/file", "folder/other")
        assert open("folder/other").read() == "text"
        os.remove("folder/other")
        with tempfile.TemporaryFile() as file: file.write(b"text")
        open("/dev/null", "w").write("text")
    """
    outcome = run(code)
    assert outcome.passed, outcome.reason


def test_strings_hash_the_same_in_every_run():
    printed = {run("print(hash('text'))").output for _ in range(3)}
    assert len(printed) == 1


LOOPS = {
    "busy": "while True: pass",
    "asleep": "import time\nwhile True: time.sleep(1)",
    "deaf to signals": "import signal\nfor number in (1, 2, 15, 24): signal.signal(number, signal.SIG_IGN)\nwhile True: pass",
    "catching all": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "stopped by itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "silent": "import os\nos.closerange(0, 100)\nwhile True: pass",
    "waiting for input": "import os\nr, w = os.pipe()\nos.read(r, 1)",
}


@pytest.mark.parametrize("code", LOOPS.values(), ids=LOOPS)
def test_a_loop_is_stopped(code):
    started = time.monotonic()
    outcome = run(code, Limits(seconds=0.4))
    assert not outcome.passed
    assert outcome.reason == "timed out: it ran longer than 0.4 seconds"
    assert time.monotonic() - started < 3


def test_too_many_threads_are_stopped():
    code = "import threading, time\nfor _ in range(40): threading.Thread(target=time.sleep, args=(2,), daemon=True).start()\ntime.sleep(1)"
    assert run(code).reason == "stopped: it ran more than 16 threads"


@pytest.mark.parametrize(
    "code",
    [
        "parts = []\nfor _ in range(400): parts.append(bytearray(10_000_000))",
        "text = 'x' * 3_000_000_000",
        "import mmap\nmaps = [mmap.mmap(-1, 100_000_000) for _ in range(30)]",
    ],
    ids=["step by step", "at once", "mapped"],
)
def test_allocating_without_end_is_stopped(code):
    outcome = run(code)
    assert not outcome.passed
    assert "memory" in outcome.reason.lower()


def test_code_that_catches_the_lack_of_memory_does_not_get_more():
    code = """
        parts, failed = [], False
        try:
            for _ in range(300): parts.append(bytearray(10_000_000))
        except MemoryError:
            failed = True
        print(len(parts) * 10_000_000)
        parts.clear()
        assert failed
    """
    outcome = run(code)
    assert outcome.passed and int(outcome.output) < Limits().memory


def test_the_folder_is_gone_whatever_was_made_of_it(layers):
    codes = [
        "import shutil, os\nprint(os.getcwd(), flush=True)\nshutil.rmtree('.', ignore_errors=True)",
        "import os\nprint(os.getcwd(), flush=True)\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')",
        "import os\nprint(os.getcwd(), flush=True)\nos.mkdir('d'); open('d/file', 'w'); os.mkdir('e', 0)",
        "import os\nprint(os.getcwd(), flush=True)\nos.mkdir('d', 0o300); open('d/file', 'w')",
    ]
    for code in codes:
        folder = run(code).output.split()[0]
        assert "run_code_" in folder
        assert not Path(folder).exists()


def test_endless_output_is_stopped_and_kept_only_in_part():
    outcome = run("for _ in range(10**7): print('x' * 1000)", Limits(output=10_000))
    assert outcome.reason == "stopped: it printed more than 10000 bytes"
    assert len(outcome.output) == 10_000


FULL = {
    "File too large": "with open('big', 'wb') as file:\n    for _ in range(100): file.write(bytes(1_000_000)); file.flush()",
    "its files took more than 4194304 bytes": "import time\nfor i in range(100): open(str(i), 'wb').write(bytes(400_000))\ntime.sleep(0.5)",
    "it made more than 1000 files": "import time\nfor i in range(1500): open(str(i), 'w').close()\ntime.sleep(0.5)",
}  # fmt: skip


@pytest.mark.parametrize(("why", "code"), FULL.items(), ids=["one file", "together", "too many"])
def test_filling_the_disk_is_stopped(why, code, layers):
    outcome = run(code, Limits(disk=4 << 20))
    assert not outcome.passed
    assert (why if layers == "landlock" else "PermissionError") in outcome.reason


FORGERIES = {
    "exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "os._exit behind the hook": LIBC + "libc._exit(0)",
    "raise SystemExit": "raise SystemExit",
    "exit when the tests come": "import sys\ndef double(x): sys.exit(0)\nclass Stop: pass",
    "printed words": "print('ready\\npassed\\nall tests passed'); import os; os._exit(0)",
    "words on every pipe": "import os\nfor fd in range(1, 20):\n    try: os.write(fd, b'ready\\npassed\\n')\n    except OSError: pass\nos._exit(0)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\nraise ValueError",
    "changed builtins": "import builtins\nbuiltins.AssertionError = type('Quiet', (), {})\nbuiltins.exec = builtins.compile = lambda *a, **k: None\nbuiltins.str = builtins.isinstance = builtins.print = None\n",
    "changed os": "import os, sys\nos._exit = os.write = sys.exit = lambda *a: None\n",
    "broken stdout": "import sys\nsys.stdout.close()\nsys.stdout = None\n",
    "alarm": "import signal, sys\nsignal.signal(signal.SIGALRM, lambda *a: sys.exit(0))\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nimport time; time.sleep(1)",
    "thread": "import threading, os, time\nthreading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start()\ntime.sleep(1)",
}  # fmt: skip


@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_a_wrong_answer_does_not_pass_by_a_trick(code):
    wrong = "\ntry: double\nexcept NameError:\n    def double(x): return 5\n"
    outcome = run_code(code + wrong, TESTS, FAST)
    assert not outcome.passed
    assert outcome.reason.startswith(("failed: ", "stopped: "))


def test_a_trace_function_of_the_code_does_not_see_the_tests():
    code = """
        import sys
        def skip(frame, event, value):
            if frame.f_code.co_filename == "tests.py" and event == "line" and frame.f_lineno == 1: frame.f_lineno = 2
            return skip
        sys.settrace(skip)
        def double(x): return 5
    """
    assert not run_code(textwrap.dedent(code), "assert double(2) == 4\ndone = True\n").passed


def test_a_right_answer_that_writes_to_the_verdicts_pipe_does_not_pass():
    code = "import os\nfor pipe in range(3, 20):\n    try: os.write(pipe, b'passed')\n    except OSError: pass"
    assert not run(code).passed


def test_a_crash_a_deep_recursion_and_a_syntax_error_are_told_apart():
    assert "SIGSEGV" in run(LIBC + "ctypes.string_at(0)").reason
    assert "RecursionError" in run("def deep(x): return deep(x)\ndeep(1)").reason
    crash = "import sys\nsys.setrecursionlimit(10**9)\nclass Deep:\n    def __repr__(self): return repr([self])\nrepr(Deep())"
    assert not run(crash).passed
    assert run_code("def double(x:", TESTS).reason.startswith("failed: the code does not compile: SyntaxError")  # fmt: skip
    assert run_code(RIGHT, "assert (").reason.startswith("failed: the tests do not compile")
    assert not run_code("(" * 100_000, TESTS).passed
    assert not run_code("\ud800 = 1\x00", TESTS).passed
    assert run_code("", TESTS).reason.startswith("failed: a test raised NameError at `assert double(2) == 4`")  # fmt: skip


def test_input_is_at_its_end():
    assert "EOFError" in run("input()").reason


def test_many_runs_keep_their_order():
    items = [(f"def double(x): return {'2' if i % 3 else '3'} * x", TESTS) for i in range(12)]
    outcomes = run_many(items, workers=4, progress=False)
    assert [outcome.passed for outcome in outcomes] == [bool(i % 3) for i in range(12)]
    assert run_many([], progress=False) == []


def test_many_runs_show_a_bar(capsys):
    run_many([(RIGHT, TESTS)] * 2)
    assert "2/2" in capsys.readouterr().err


def test_a_machine_without_the_filter_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(UserError, match="cannot be run safely.*run it on Linux with seccomp"):
            run_code(RIGHT, TESTS)
        with pytest.raises(UserError, match="cannot be run safely"):
            run_many([(RIGHT, TESTS)])
        with pytest.raises(UserError, match="cannot be run safely"):
            protection_layers()
    monkeypatch.setattr(protection.platform, "machine", lambda: "riscv64")
    with pytest.raises(UserError, match="not for riscv64"):
        run_code(RIGHT, TESTS)


def test_a_kernel_that_does_not_take_the_filter_is_refused_before_the_code_runs(monkeypatch, tmp_path):  # fmt: skip
    from llmjp_jax.evaluation.sandbox import run as module

    monkeypatch.setattr(module, "filter_program", lambda *arguments: b"\xff" * 8)
    with pytest.raises(UserError, match="protection could not be put on.*Invalid argument"):
        run_code(RIGHT, TESTS)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError, match="does not start"):
        run_code(RIGHT, TESTS)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="protection could not be put on"):
        run_code(RIGHT, TESTS)


def test_limits_that_make_no_sense_are_refused():
    for name in ("seconds", "memory", "threads", "open_files"):
        with pytest.raises(UserError, match=f"Limits.{name} = 0"):
            Limits(**{name: 0})


def test_code_without_tests_is_refused():
    with pytest.raises(UserError, match="no tests to run"):
        run_code(RIGHT, " \n")


def test_the_smallest_limits_are_enough_for_small_code():
    assert run(RIGHT, Limits(memory=64 << 20, disk=0, output=0, threads=1, open_files=16)).passed


def test_the_layers_are_named():
    assert protection_layers()[0] == "seccomp"
