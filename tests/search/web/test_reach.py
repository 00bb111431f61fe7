"""Who can reach the server, on which addresses it listens, and its command: killed, interrupted, with other machines let in."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search.web import Application, serve
from tests.search.web.conftest import ask, serving

REPOSITORY = Path(__file__).resolve().parents[3]


def other_addresses() -> list[str]:
    """Addresses of this machine beside 127.0.0.1."""
    found = ["127.0.0.2"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        found.append(probe.getsockname()[0])
    return found


def test_by_default_no_other_address_of_this_machine_answers(server):
    assert server.server_address[0] == "127.0.0.1" and server.only_loopback
    for address in other_addresses():
        with pytest.raises(OSError), socket.create_connection((address, server.server_port), 2):
            pass


def test_other_machines_reach_it_only_when_asked(index):
    with serving(Application(index), "0.0.0.0") as server:
        assert not server.only_loopback
        for address in other_addresses():
            with contextlib.closing(http.client.HTTPConnection(address, server.server_port)) as one:
                one.request("GET", "/api/stores", headers={"Host": "corpus.example"})
                assert one.getresponse().status == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_it_listens_on_ipv6_too(index):
    try:
        with serving(Application(index), "::1") as server:
            assert server.only_loopback and server.url == f"http://[::1]:{server.server_port}/"
            assert ask(server).status == 200
    except UserError:
        pytest.skip("this machine has no ::1")


def test_a_port_in_use_is_a_mistake_with_a_fix(server, index):
    with pytest.raises(UserError, match=r"cannot listen on port \d+ of 127.0.0.1.*--port=0"):
        serve(index, port=server.server_port)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("", 8000, "--host is empty"),
        ("no.such.host.invalid", 8000, "no address of this machine"),
        ("192.0.2.1", 0, "cannot listen"),
        ("127.0.0.1", 70_000, "no port"),
        ("127.0.0.1", -1, "no port"),
    ],
)
def test_an_address_that_is_none_is_a_mistake(index, host, port, said):
    with pytest.raises(UserError, match=said):
        serve(index, host, port)


def test_a_run_on_other_stores_is_a_mistake(index, trace, monkeypatch):
    monkeypatch.setattr(type(trace), "fingerprints", {"ja": "another"}, raising=False)
    other = index.stores["ja", "train"]
    stores = dict(index.stores) | {("ja", "train"): type(other)(**vars(other) | {"fingerprint": "x"})}  # fmt: skip
    monkeypatch.setattr(index, "stores", stores)
    with pytest.raises(UserError, match="another store ja/train"):
        serve(index, trace=trace, port=0)


# The command.


@contextlib.contextmanager
def command(*flags: str):
    """The command of the server, and the port on which it says that it listens."""
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "tools/search_corpus.py", "serve", "--port=0", *map(str, flags)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert "http://" in line, process.stderr.read()
        yield process, int(line.split("http://")[1].split("/")[0].rpartition(":")[2])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def answer_of(port: int, path: str) -> str:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        assert answer.status == 200
        return answer.read().decode()


def test_the_index_of_a_killed_server_still_opens(web_index_folder):
    path = f"/document/ja/train/40?q={quote('。')}"
    with command(f"--index={web_index_folder}") as (process, port):
        first = answer_of(port, path)
        # It dies while it is asked.
        threads = [
            threading.Thread(target=_ask_until_dead, args=(port, f"/?q={quote(letter)}"))
            for letter in "のはをが"
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        process.kill()
        for thread in threads:
            thread.join()
    with command(f"--index={web_index_folder}") as (_, port):
        assert answer_of(port, path) == first


def _ask_until_dead(port: int, path: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            answer_of(port, path)


def test_ctrl_c_ends_it_quietly(web_index_folder):
    with command(f"--index={web_index_folder}") as (process, port):
        answer_of(port, "/")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")


def test_the_command_warns_where_others_can_read_the_corpus(web_index_folder):
    with command(f"--index={web_index_folder}", "--host=0.0.0.0") as (process, port):
        answer_of(port, "/")
        process.terminate()
        assert "warning: whoever reaches this machine" in process.communicate(timeout=20)[1]
