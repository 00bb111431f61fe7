"""The client against a real server on this machine that fails in every way that endpoints fail."""

import gzip
import json
import logging
import socket
import time

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.client import JudgeClient
from llmjp_jax.evaluation.judges.requests import JudgeRequest
from tests.evaluation.judges.judge_server import Say, completion

KEY = "sk-very-secret-0123456789"


def request(id="a", **fields):
    return JudgeRequest(id, ({"role": "user", "content": f"質問 {id}"},), **{"temperature": 0.0, "max_tokens": 16, **fields})  # fmt: skip


def client(server, **fields):
    return JudgeClient(server.url, "judge", **{"first_wait": 0.01, "longest_wait": 0.02, "retries": 3, **fields})  # fmt: skip


def replies(client, requests):
    return {reply.id: reply for reply in client.ask(requests)}


def test_a_reply_comes_back_under_its_requests_id_with_the_text_that_was_asked(server):
    server.script = lambda body, _: Say(completion("答え " + body["messages"][-1]["content"]))
    found = replies(client(server), [request(str(number)) for number in range(20)])
    assert {id: reply.text for id, reply in found.items()} == {str(n): f"答え 質問 {n}" for n in range(20)}  # fmt: skip
    assert set(server.paths) == {"/v1/chat/completions"}
    assert server.requests[0][1].keys() == {"model", "messages", "temperature", "max_tokens"}


def test_sampling_fields_are_sent_only_where_they_are_set(server):
    replies(client(server), [request(temperature=None, top_p=0.95, seed=1234)])
    body = server.requests[0][1]
    assert (body["top_p"], body["seed"]) == (0.95, 1234)
    assert "temperature" not in body


@pytest.mark.parametrize(
    "trouble",
    [
        Say(status=429, body={"error": {"message": "slow down"}}),
        Say(status=500, body=b"oh"),
        Say(status=503, body=b"<html>"),
        Say(body=b"{ half"),
        Say(body=b'{"choices": []}'),
        Say(body=b"[1, 2]"),
        Say(body=b"\xff\xfe"),
        Say(body=b""),
        Say(cut=20),
        Say(hang_up=True),
        Say(wait=1.5),
        Say(trickle=0.05),
        Say(headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda say: str(say)[:60],
)
def test_what_may_pass_is_tried_again(server, trouble):
    server.script = lambda body, count: trouble if count < 2 else Say(completion("[[B]]"))
    assert replies(client(server, timeout=0.7), [request()])["a"].text == "[[B]]"
    assert len(server.requests) == 3


def test_a_compressed_reply_is_read(server):
    body = gzip.compress(json.dumps(completion("[[A]]")).encode())
    server.script = lambda *_: Say(body=body, headers={"Content-Encoding": "gzip"})
    assert replies(client(server), [request()])["a"].text == "[[A]]"


def test_after_all_retries_a_request_is_an_error_and_the_others_are_not(server):
    server.script = lambda body, _: Say(status=500, body={"error": {"message": "broken"}}) if "bad" in str(body) else None  # fmt: skip
    found = replies(client(server), [request("bad"), request("good")])
    assert found["good"].text == "[[A]]"
    assert found["bad"].text is None
    assert "4 tries" in found["bad"].error and "broken" in found["bad"].error
    assert sum("bad" in asked for asked in server.asked()) == 4


def test_waits_grow_and_are_not_all_alike(server):
    server.script = lambda body, count: Say(status=500) if count < 4 else None
    replies(client(server, first_wait=0.1, longest_wait=10, retries=4), [request()])
    waits = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    for number, wait in enumerate(waits):
        assert 0.05 * 2**number <= wait < 0.1 * 2**number + 0.25, waits


def test_retry_after_is_waited_for_by_all(server):
    def script(body, count):
        if "first" in str(body) and count == 0:
            return Say(status=429, headers={"Retry-After": "1"})
        return Say(wait=0.1)

    server.script = script
    found = replies(client(server, concurrency=2), [request(id) for id in ("first", "b", "c", "d", "e")])  # fmt: skip
    assert [reply.text for reply in found.values()] == ["[[A]]"] * 5
    since = [at - server.times[0] for at in server.times]
    assert sum(at < 0.09 for at in since) == 2 and not any(0.09 < at < 1.0 for at in since), since


def test_retry_after_may_be_a_date(server):
    at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2.5))
    server.script = lambda body, count: Say(status=503, headers={"Retry-After": at}) if count == 0 else None  # fmt: skip
    replies(client(server), [request()])
    assert server.times[1] - server.times[0] >= 1.0


def test_a_wait_of_hours_is_left_to_the_user(server):
    server.script = lambda *_: Say(status=429, headers={"Retry-After": "7200"})
    with pytest.raises(UserError, match="asks to wait 7200 seconds"):
        replies(client(server), [request()])


@pytest.mark.parametrize(
    "say, sentence",
    [
        (Say(status=400, body={"error": {"message": "unknown field"}}), "does not take the request a .status 400: unknown field"),
        (Say(status=401, body={"error": {"message": f"wrong key {KEY}"}}), "OPENAI_API_KEY is not set"),
        (Say(status=403, body={"error": {"message": "no access"}}), "status 403: no access"),
        (Say(status=404, body={"error": {"message": "no such model"}}), "no model 'judge' .status 404: no such model"),
        (Say(status=301, body=b"", headers={"Location": "http://elsewhere/"}), "status 301"),
        (Say(status=429, body={"error": {"code": "insufficient_quota", "message": "pay"}}), "no credit left: pay"),
    ],
)  # fmt: skip
def test_what_no_retry_mends_is_one_sentence_at_once(server, say, sentence):
    server.script = lambda *_: say
    with pytest.raises(UserError, match=sentence):
        replies(client(server), [request()])
    assert len(server.requests) == 1


def test_replies_that_were_under_way_come_before_the_end(server):
    def script(body, _):
        return Say(status=401, wait=0.2) if "bad" in str(body) else Say(wait=0.4)

    server.script = script
    found = []
    with pytest.raises(UserError, match="401"):
        for reply in client(server, concurrency=2).ask([request("good"), request("bad"), request("later")]):  # fmt: skip
            found.append(reply.id)
    assert found == ["good"]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "say, reason",
    [
        (Say(completion(None, "content_filter")), "content filter"),
        (Say(completion("半分", "content_filter")), "content filter"),
        (Say(completion(None, refusal="お断りします")), "お断りします"),
        (Say(completion(None, "length")), "finish_reason: length"),
        (Say(status=400, body={"error": {"code": "content_filter", "message": "filtered"}}), "filtered"),
        (Say(status=400, body={"error": {"code": "context_length_exceeded", "message": "too long"}}), "too long"),
        (Say(status=400, body={"object": "error", "message": "This model's maximum context length is 8"}), "maximum context length"),
    ],
)  # fmt: skip
def test_what_an_endpoint_will_not_judge_is_that_items_error_and_not_asked_again(server, say, reason):  # fmt: skip
    server.script = lambda body, _: say if "bad" in str(body) else None
    found = replies(client(server), [request("bad"), request("good")])
    assert found["good"].text == "[[A]]"
    assert found["bad"].text is None and reason in found["bad"].error
    assert len(server.requests) == 2


def test_the_key_is_sent_and_shown_nowhere(server, monkeypatch, caplog, capfd, tmp_path):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    server.script = lambda body, _: Say(status=500, body=echo) if "bad" in str(body) else None
    asking = client(server, api_key_env="MY_KEY", retries=1)
    found = replies(asking, [request("good"), request("bad")])
    assert {headers["Authorization"] for headers, _ in server.requests} == {f"Bearer {KEY}"}
    server.script = lambda *_: Say(status=403, body=echo)
    with pytest.raises(UserError) as error:
        replies(asking, [request()])
    shown = f"{found} {asking!r} {error.value} {caplog.text} {capfd.readouterr()}"
    assert "Incorrect API key provided: ***" in found["bad"].error
    assert KEY not in shown


@pytest.mark.parametrize("key", [KEY + "\n", KEY + " x", "鍵"])
def test_a_key_that_cannot_be_one_is_named_by_its_variable_alone(server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY holds") as error:
        replies(client(server), [request()])
    assert key.strip() not in str(error.value)
    assert server.requests == []


def test_without_a_key_none_is_sent_not_even_of_netrc(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    replies(client(server), [request()])
    assert "Authorization" not in server.requests[0][0]


def test_a_server_that_was_never_there_is_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    asking = JudgeClient(url, "judge", retries=1, first_wait=0.01)
    with pytest.raises(UserError, match="cannot be reached .*Connection refused"):
        replies(asking, [request(), request("b")])


@pytest.mark.parametrize("url", ["api.openai.com/v1", "ftp://x/v1", "http://", "http://u:p@x/v1", "http://x/v1?a=b", "http://x:port/v1"])  # fmt: skip
def test_an_address_that_is_none_is_refused_without_being_shown(url):
    with pytest.raises(UserError, match="must be like https://host/v1") as error:
        JudgeClient(url, "judge")
    assert "u:p" not in str(error.value)


def test_the_address_may_stand_in_the_environment(server, monkeypatch):
    with pytest.raises(UserError, match="OPENAI_BASE_URL"):
        JudgeClient(None, "judge")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    assert replies(JudgeClient(None, "judge"), [request()])["a"].text == "[[A]]"


def test_no_more_requests_are_under_way_than_asked_for(server):
    server.script = lambda *_: Say(wait=0.05)
    replies(client(server, concurrency=3), [request(str(number)) for number in range(12)])
    assert server.most == 3


def test_requests_per_minute_are_kept_by_all_threads_together(server):
    replies(client(server, requests_per_minute=1200, concurrency=8), [request(str(n)) for n in range(10)])  # fmt: skip
    assert server.times[-1] - server.times[0] >= 9 * 0.05 - 0.03


def test_two_requests_of_one_id_are_refused(server):
    with pytest.raises(UserError, match="two judge requests have the id 'a'"):
        client(server).ask([request(), request()])


def test_who_stops_listening_stops_the_asking(server):
    server.script = lambda *_: Say(wait=0.05)
    for _ in client(server, concurrency=2).ask([request(str(number)) for number in range(50)]):
        break
    time.sleep(0.3)
    assert len(server.requests) <= 6
