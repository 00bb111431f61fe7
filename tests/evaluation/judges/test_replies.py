"""Replies are kept: a killed process asks nothing twice, and what was kept is never of other requests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.client import JudgeClient
from llmjp_jax.evaluation.judges.replies import ask_and_keep
from llmjp_jax.evaluation.judges.requests import JudgeRequest
from tests.evaluation.judges.judge_server import Say, completion

REPOSITORY = Path(__file__).resolve().parents[3]

PROGRAM = """
import sys
from llmjp_jax.evaluation.judges import JudgeClient, JudgeRequest, ask_and_keep
requests = [JudgeRequest(str(n), ({"role": "user", "content": f"<{n}>"},), 0.0, 9) for n in range(40)]
print(len(ask_and_keep(JudgeClient(sys.argv[1], "judge", concurrency=4), requests, sys.argv[2])))
"""


def requests(count, text="<{}>"):
    return [JudgeRequest(str(n), ({"role": "user", "content": text.format(n)},), 0.0, 9) for n in range(count)]  # fmt: skip


def client(server, **fields):
    return JudgeClient(server.url, "judge", **{"first_wait": 0.01, "retries": 0, **fields})


def test_after_kill_9_nothing_that_was_answered_is_asked_again(server, tmp_path):
    server.script = lambda body, _: Say(completion(body["messages"][-1]["content"]), wait=0.02)
    kept = tmp_path / "replies.jsonl"
    command = [sys.executable, "-c", PROGRAM, server.url, str(kept)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 20
    while len(server.requests) < 15 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    # What a kill in the middle of a write leaves.
    whole = [json.loads(line) for line in kept.read_text().splitlines() if line.endswith("}")]
    with kept.open("a") as file:
        file.write('{"custom_id": "half')
    first = set(server.asked())
    assert 5 < len(whole) < 40
    server.requests.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "40"
    again = server.asked()
    answered = {line["response"]["body"]["choices"][0]["message"]["content"] for line in whole}
    assert not answered & set(again)
    assert len(again) == len(set(again)) == 40 - len(whole)
    assert first | set(again) == {f"<{n}>" for n in range(40)}
    found = ask_and_keep(client(server), requests(40), kept)
    assert {id: reply.text for id, reply in found.items()} == {str(n): f"<{n}>" for n in range(40)}
    assert len(server.requests) == len(again)


def test_errors_are_asked_again_and_texts_are_not(server, tmp_path):
    server.script = lambda body, _: Say(status=500) if body["messages"][-1]["content"] == "<1>" else None  # fmt: skip
    kept = tmp_path / "replies.jsonl"
    assert [reply.error is None for reply in ask_and_keep(client(server), requests(3), kept).values()] == [True, False, True]  # fmt: skip
    server.script = lambda *_: None
    server.requests.clear()
    assert ask_and_keep(client(server), requests(3), kept)["1"].text == "[[A]]"
    assert server.asked() == ["<1>"]


def test_what_came_before_an_endpoint_gave_up_is_kept(server, tmp_path):
    server.script = lambda body, _: Say(status=401) if len(server.requests) > 3 else None
    kept = tmp_path / "replies.jsonl"
    with pytest.raises(UserError, match="401"):
        ask_and_keep(client(server, concurrency=1), requests(6), kept)
    server.script = lambda *_: None
    server.requests.clear()
    ask_and_keep(client(server), requests(6), kept)
    assert sorted(server.asked()) == ["<3>", "<4>", "<5>"]


def test_other_texts_under_the_same_ids_are_asked(server, tmp_path):
    kept = tmp_path / "replies.jsonl"
    ask_and_keep(client(server), requests(2), kept)
    server.requests.clear()
    ask_and_keep(client(server), requests(2, text="もう一度 {}"), kept)
    assert len(server.requests) == 2


def test_two_processes_do_not_write_to_one_file(server, tmp_path):
    kept = tmp_path / "replies.jsonl"

    def script(body, count):
        with pytest.raises(UserError, match="another process"):
            ask_and_keep(client(server), requests(1), kept)
        return Say(completion("refused"))

    server.script = script
    assert ask_and_keep(client(server), requests(1), kept)["0"].text == "refused"


def test_a_broken_line_in_the_middle_is_an_error_and_not_dropped(server, tmp_path):
    kept = tmp_path / "replies.jsonl"
    kept.write_text("{ half\n")
    with pytest.raises(UserError, match="line 1, is not JSON"):
        ask_and_keep(client(server), requests(1), kept)
    assert kept.read_text() == "{ half\n"
