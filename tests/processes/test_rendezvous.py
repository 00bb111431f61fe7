"""Real processes meet on loopback: all of them, or each says in one sentence why not."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

MEET = """
import sys
from llmjp_jax.errors import exit_on_user_error
from llmjp_jax.processes.place import Place
from llmjp_jax.processes.rendezvous import meet
host, *numbers = sys.argv[1:]
port, count, index, timeout = map(int, numbers)
with exit_on_user_error():
    meet(Place(host, port, count, index, "--port"), timeout, lambda line: print(line, file=sys.stderr, flush=True))
assert not {"jax", "numpy"} & set(sys.modules)
print("met")
"""


class Meeting:
    """Starts processes of one run, and kills what is left of them."""

    def __init__(self, host: str = "127.0.0.1"):
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as listener:
            listener.bind((host, 0))
            self.port = listener.getsockname()[1]
        self.started: list[subprocess.Popen] = []

    def start(self, index: int, count: int = 3, timeout: int = 30) -> subprocess.Popen:
        arguments = map(str, (self.host, self.port, count, index, timeout))
        process = subprocess.Popen(
            [sys.executable, "-c", MEET, *arguments], cwd=REPOSITORY, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        process.lines = []
        process.reader = threading.Thread(target=self._collect, args=[process])
        process.reader.start()
        return process

    def _collect(self, process) -> None:
        for line in process.stderr:
            process.lines.append(line.rstrip("\n"))

    def says(self, process, line: str, seconds: float = 30) -> None:
        """Waits for a line of stderr."""
        end = time.monotonic() + seconds
        while not any(line in said for said in process.lines):
            assert time.monotonic() < end, f"no {line!r} in {process.lines}"
            time.sleep(0.01)

    def end(self, process) -> int:
        code = process.wait(timeout=60)
        process.reader.join()
        return code

    def connect(self) -> socket.socket:
        end = time.monotonic() + 30
        while True:
            try:
                return socket.create_connection((self.host, self.port), timeout=30)
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.05)


@pytest.fixture
def meeting():
    meetings = []

    def make(*arguments) -> Meeting:
        meetings.append(Meeting(*arguments))
        return meetings[-1]

    yield make
    for one in meetings:
        for process in one.started:
            process.kill()
            process.wait()
            process.reader.join()
            process.stdout.close()
            process.stderr.close()


@pytest.mark.parametrize(
    "host, order", [("127.0.0.1", [3, 0, 2, 1]), ("::1", [1, 0]), ("localhost", [0, 1])]
)
def test_processes_meet_in_any_order_and_leave_the_port_free(meeting, host, order):
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    run = meeting(host)
    processes = [run.start(index, count=len(order)) for index in order]
    assert [run.end(process) for process in processes] == [0] * len(order)
    assert all(process.stdout.read() == "met\n" for process in processes)
    first = processes[order.index(0)]
    assert f"{len(order)} of {len(order)} processes connected" in first.lines
    for index, process in zip(order, processes, strict=True):
        if index:
            assert (
                f"process {index} of {len(order)} waits up to 30 s for process 0 at"
                in process.lines[0]
            )
    socket.create_server(("", run.port)).close()


def test_the_wait_names_those_who_are_missing_and_counts_down_when_one_dies(meeting):
    run = meeting()
    first = run.start(0)
    run.says(first, "1 of 3 processes connected; waiting for 1-2")
    second = run.start(1)
    run.says(first, "2 of 3 processes connected; waiting for 2")
    run.says(second, "process 1 of 3: 2 of 3 processes connected; waiting for 2")
    second.kill()
    end = time.monotonic() + 30
    while first.lines.count("1 of 3 processes connected; waiting for 1-2") < 2:
        assert time.monotonic() < end, first.lines
        time.sleep(0.01)
    again, third = run.start(1), run.start(2)
    assert [run.end(process) for process in (first, again, third)] == [0, 0, 0]


def test_those_who_came_say_who_did_not_when_the_time_is_up(meeting):
    run = meeting()
    processes = [run.start(index, count=4, timeout=2) for index in (0, 2)]
    for process in processes:
        assert run.end(process) == 2
        assert process.lines[-1].startswith(
            "error: after 2 s, 2 of 4 processes are connected: 1, 3 did not come; start them"
        )


def test_without_process_0_the_others_say_where_they_looked(meeting):
    run = meeting()
    process = run.start(1, timeout=1)
    assert run.end(process) == 2
    assert f"process 0 did not answer at 127.0.0.1:{run.port} within 1 s" in process.lines[-1]
    assert "Connection refused" in process.lines[-1]


def test_another_number_of_processes_is_refused_on_both_sides(meeting):
    run = meeting()
    first, other = run.start(0, count=3), run.start(1, count=2)
    for process in (first, other):
        assert run.end(process) == 2
        assert process.lines[-1].startswith("error: process 1 (")
        assert "was started as one of 2, process 0" in process.lines[-1]


@pytest.mark.parametrize("index", [0, 1])
def test_two_processes_of_one_index_are_refused_and_all_are_told(meeting, index):
    run = meeting()
    first, second = run.start(0), run.start(1)
    run.says(first, "2 of 3")
    if index == 0:  # as on another machine, where the port is free
        with run.connect() as third:
            third.sendall(b'llmjp_jax hello {"count": 3, "index": 0, "key": "x", "who": "y"}\n')
            while b"refused two" not in third.recv(1000):
                pass
    else:
        third = run.start(index)
        assert run.end(third) == 2
        assert f"two processes have the index {index}" in third.lines[-1]
    for process in (first, second):
        assert run.end(process) == 2
        assert f"error: two processes have the index {index}: " in process.lines[-1]


def test_a_process_that_lost_its_connection_comes_again(meeting):
    run = meeting()
    first = run.start(0)
    hello = b'llmjp_jax hello {"count": 3, "index": 1, "key": "x", "who": "y"}\n'
    with run.connect() as lost, run.connect() as again:
        lost.sendall(hello)
        assert b"waiting" in lost.recv(1000)
        again.sendall(hello)
        second = run.start(2)
        assert run.end(second) == 0
        said = b""
        while b"go\n" not in said:
            said += again.recv(1000)
    assert run.end(first) == 0


def test_strangers_are_left_alone(meeting):
    run = meeting()
    first = run.start(0, count=2)
    sayings = [
        b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff" * 3000, b"", b"llmjp_jax hello {}\n",
        b"llmjp_jax hello [1]\n", b'llmjp_jax hello {"count": 2, "index": 9, "key": "", "who": ""}\n',
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"here\ngo\n",
    ]  # fmt: skip
    strangers = [run.connect() for _ in sayings]
    for stranger, saying in zip(strangers, sayings, strict=True):
        stranger.sendall(saying)
    second = run.start(1, count=2)
    assert [run.end(process) for process in (first, second)] == [0, 0]
    assert first.lines == [
        "1 of 2 processes connected; waiting for 1",
        "2 of 2 processes connected",
    ]
    for stranger in strangers:
        stranger.close()


def test_a_port_in_use_is_one_sentence_that_names_the_setting(meeting):
    run = meeting()
    with socket.create_server(("", run.port)):
        process = run.start(0)
        assert run.end(process) == 2
    assert process.lines == [
        f"error: port {run.port} of this machine, where process 0 meets the others, is in use; end what holds it, "
        "or change --port"
    ]


def test_another_program_on_the_port_is_not_taken_for_process_0(meeting):
    run = meeting()
    with socket.create_server(("", run.port)) as server:
        process = run.start(1, timeout=2)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
            assert run.end(process) == 2
    assert "(what answers there is another program, or has stopped)" in process.lines[-1]


def test_the_others_wait_for_a_process_0_that_is_started_again(meeting):
    run = meeting()
    first, second = run.start(0), run.start(1)
    run.says(first, "2 of 3")
    first.kill()
    run.end(first)
    again, third = run.start(0), run.start(2)
    assert [run.end(process) for process in (again, second, third)] == [0, 0, 0]
