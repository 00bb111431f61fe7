import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.requests import (
    JudgeReply,
    JudgeRequest,
    read_replies,
    reply_line,
    reply_of,
    write_requests,
)
from tests.evaluation.judges.judge_server import completion


def request(id="a", text="質問", **fields):
    return JudgeRequest(id, ({"role": "user", "content": text},), **{"temperature": 0.0, "max_tokens": 9, **fields})  # fmt: skip


def batch(path, *lines):
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


def line(request, body=None, status=200, error=None):
    response = None if body is None else {"status_code": status, "request_id": "r", "body": body}
    return {"id": "batch_1", "custom_id": request.custom_id("gpt-4"), "response": response, "error": error}  # fmt: skip


def test_requests_are_lines_of_a_batch_file(tmp_path):
    path = tmp_path / "requests.jsonl"
    assert write_requests(path, [request("a"), request("b", seed=1, top_p=0.9)], "gpt-4") == 2
    one, two = (json.loads(line) for line in path.read_text().splitlines())
    assert one == {
        "custom_id": request("a").custom_id("gpt-4"),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "質問"}],
            "max_tokens": 9,
            "temperature": 0.0,
        },
    }
    assert (two["body"]["seed"], two["body"]["top_p"]) == (1, 0.9)
    assert len(one["custom_id"]) <= 64 and one["custom_id"].startswith("a-")


def test_a_batchs_output_is_read_texts_refusals_and_errors(tmp_path):
    asked = [request(id) for id in "abcdefg"]
    path = batch(
        tmp_path / "replies.jsonl",
        line(asked[1], completion("[[B]]")),
        line(asked[0], completion("[[A]]")),
        line(asked[2], completion(None, "content_filter")),
        line(asked[3], {"error": {"message": "server error"}}, status=500),
        line(asked[4], error={"code": "batch_expired", "message": "too late"}),
        line(asked[5], completion("[[C]]", "length")),
    )
    found = read_replies(path, asked, "gpt-4")
    assert {id: reply.text for id, reply in found.items()} == {"a": "[[A]]", "b": "[[B]]", "c": None, "d": None, "e": None, "f": "[[C]]"}  # fmt: skip
    assert "content filter" in found["c"].error
    assert (found["d"].error, found["e"].error) == ("server error", "too late")


def test_replies_to_other_texts_judges_or_settings_are_never_taken_for_these(tmp_path):
    path = batch(tmp_path / "replies.jsonl", line(request(), completion("[[A]]")))
    assert read_replies(path, [request()], "gpt-4")["a"].text == "[[A]]"
    for other in (request(text="別"), request(temperature=1.0), request(max_tokens=8), request(seed=1), request("b")):  # fmt: skip
        assert read_replies(path, [other], "gpt-4") == {}
    assert read_replies(path, [request()], "gpt-5") == {}


def test_a_text_goes_before_an_error_whichever_came_first(tmp_path):
    good, bad = line(request(), completion("[[A]]")), line(request(), error={"message": "x"})
    for lines in ((good, bad), (bad, good)):
        path = batch(tmp_path / "replies.jsonl", *lines)
        assert read_replies(path, [request()], "gpt-4")["a"].text == "[[A]]"


@pytest.mark.parametrize("reply", [JudgeReply("a", "答え\n[[A]]\u2028", None), JudgeReply("a", None, "断")])  # fmt: skip
def test_a_reply_that_is_written_is_read_back(tmp_path, reply):
    path = tmp_path / "replies.jsonl"
    path.write_text(reply_line(request().custom_id("gpt-4"), reply))
    assert read_replies(path, [request()], "gpt-4") == {"a": reply}


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('{"custom_id": "a", "resp', "line 1, is not JSON .* cut off"),
        ('{"response": {}}', "line 1, has no custom_id"),
        ('{"custom_id": "%s", "response": {"body": {"choices": []}}}', "neither a chat completion"),
        ('{"custom_id": "%s"}', "neither a chat completion"),
        ('{"custom_id": "%s", "response": {"status_code": 200}}', "neither a chat completion"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, text, sentence):
    path = tmp_path / "replies.jsonl"
    path.write_text(text.replace("%s", request().custom_id("gpt-4")))
    with pytest.raises(UserError, match=sentence):
        read_replies(path, [request()], "gpt-4")


def test_half_a_character_at_a_replys_end_is_written_as_a_replacement():
    """JSON may spell it by an escape, and no file in UTF-8 can hold it."""
    body = json.loads(json.dumps(completion("[[A]] 😀\ud83d")))
    reply = reply_of("a", body)
    assert reply.text == "[[A]] 😀\ufffd"
    assert reply_line("a", reply).encode()


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="none.jsonl cannot be read"):
        read_replies(tmp_path / "none.jsonl", [request()], "gpt-4")


@pytest.mark.parametrize("fields", [{"max_tokens": 0}, {"id": ""}])
def test_a_request_that_cannot_be_is_refused(fields):
    with pytest.raises(UserError):
        request(**fields)


def test_a_reply_is_a_text_or_an_error_and_not_both():
    for text, error in ((None, None), ("a", "b")):
        with pytest.raises(ValueError, match="either"):
            JudgeReply("a", text, error)
