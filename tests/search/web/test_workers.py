"""Several processes answer on one address, and none outlives the command."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def command(small_index_folder):
    """The real command with three processes, and the port on which they answer."""
    arguments = [
        "tools/search_corpus.py",
        "serve",
        "--index",
        str(small_index_folder),
        "--port=0",
        "--processes=3",
    ]
    process = subprocess.Popen([sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
    yield process, port
    process.kill()
    process.communicate()


def ask(port: int, query: str = "a") -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/api/search?q={query}")
    return json.loads(connection.getresponse().read())


def test_all_of_them_answer_and_alike(command):
    process, port = command
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    assert len(everyone) == 3
    deadline, answers = time.monotonic() + 60, set()
    idle = {one.pid: sum(one.cpu_times()[:2]) for one in everyone}
    while time.monotonic() < deadline:
        answer = ask(port)
        del answer["seconds"]
        answers.add(json.dumps(answer))
        if all(sum(one.cpu_times()[:2]) > idle[one.pid] + 0.05 for one in everyone):
            break
    else:
        pytest.fail("one of the processes never worked")
    assert len(answers) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_none_is_left_when_the_command_ends(command, how):
    process, port = command
    assert ask(port)["documents"]
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    os.kill(process.pid, how)
    process.communicate(timeout=30)
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert process.returncode == (0 if how == signal.SIGINT else -how)


def test_no_process_at_all_is_refused(small_index_folder):
    found = subprocess.run(
        [sys.executable, "tools/search_corpus.py", "serve", "--index", str(small_index_folder), "--processes=0"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 2 and found.stderr == "error: --processes=0 must be at least 1\n"
