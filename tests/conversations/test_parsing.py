"""Records in every form that people have, and one sentence with file, line and field for every mistake."""

import json
import time

import pytest

from llmjp_jax.conversations import (
    MAX_RECORD_BYTES,
    Conversation,
    Pair,
    Text,
    Turn,
    parse_messages,
    parse_record,
    read_records,
)
from llmjp_jax.errors import UserError

A_B = Conversation((Turn("user", "A"), Turn("assistant", "B")))
FOUR = Conversation(
    (Turn("user", "A"), Turn("assistant", "B"), Turn("user", "C"), Turn("assistant", "D"))
)
ASKED = Conversation(FOUR.turns[:3])


def said(role: str, *texts: str) -> list[dict]:
    """Messages under the keys that `role` goes with, 'from' or 'role'; the first is the user's."""
    names, text = (("human", "gpt"), "value") if role == "from" else (("user", "assistant"), "content")  # fmt: skip
    return [{role: names[i % 2], text: content} for i, content in enumerate(texts)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"instruction": "A", "output": "B"}, A_B),
        ({"instruction": "A", "input": "", "output": "B", "text": "..."}, A_B),
        ({"ID": 3, "instruction": "A", "input": "I", "output": "B"}, Conversation(A_B.turns, input="I")),
        ({"instruction": "A", "context": "I", "response": "B"}, Conversation(A_B.turns, input="I")),
        ({"instruction": "A", "context": None, "response": "B"}, A_B),
        ({"instruction": "", "output": "B", "system": "S"}, Conversation((Turn("user", ""), A_B.turns[1]), system="S")),
        ({"conversations": said("from", "A", "B", "C", "D")}, FOUR),
        ({"conversations": [{"from": "system", "value": "S"}, *said("from", "A", "B")]}, Conversation(A_B.turns, system="S")),
        ({"messages": said("role", "A", "B", "C", "D")}, FOUR),
        ({"messages": said("role", "A", "B"), "system": "S"}, Conversation(A_B.turns, system="S")),
        ({"text": "A", "output": "B"}, A_B),
        ({"prompt": "A", "output": "B"}, A_B),
        ({"text": "A and B", "meta": {}}, Text("A and B")),
        ({"conversations": said("from", "A", "B", "C"), "chosen": "D", "rejected": "E"}, Pair(ASKED, "D", "E")),
        ({"messages": said("role", "A", "B", "C"), "chosen": "D", "rejected": "E"}, Pair(ASKED, "D", "E")),
        ({"instruction": "A", "input": "I", "chosen": "D", "rejected": "E"}, Pair(Conversation(A_B.turns[:1], input="I"), "D", "E")),
        ({"prompt": "A", "chosen": "D", "rejected": "E"}, Pair(Conversation(A_B.turns[:1]), "D", "E")),
        ({"prompt": said("role", "A", "B", "C"), "chosen": [{"role": "assistant", "content": "D"}],
          "rejected": [{"role": "assistant", "content": "E"}]}, Pair(ASKED, "D", "E")),
        ({"chosen": said("role", "A", "B", "C", "D"), "rejected": said("role", "A", "B", "C", "E")}, Pair(ASKED, "D", "E")),
        ({"prompt": "A", "chosen": said("role", "A", "D"), "rejected": said("role", "A", "E")},
         Pair(Conversation(A_B.turns[:1]), "D", "E")),
    ],
)  # fmt: skip
def test_every_form_is_read(record, expected):
    assert parse_record(json.dumps(record).encode() + b"\r\n", "here") == expected


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ("", "is empty; remove it"),
        ("  ", "is empty; remove it"),
        ("{", "is not JSON"),
        ('["A"]', "is not a JSON object; write"),
        (b'{"text": "\xff"}', "has a lone surrogate or is not UTF-8"),
        (r'{"text": "\ud800"}', "has a lone surrogate or is not UTF-8"),
        ({}, "has no fields and is no example; write"),
        ({"question": "A", "answer": "B"}, "has 'question', 'answer' and is no example"),
        ({"instruction": "A"}, "has no field 'output'; add it"),
        ({"output": "B"}, "has no field 'instruction'; add it"),
        ({"instruction": "A", "output": ""}, "field 'output' is empty; remove the record"),
        ({"instruction": "A", "response": " \n"}, "field 'response' is empty"),
        ({"instruction": "A", "output": 3}, "field 'output' is a number; it must be a string"),
        ({"instruction": None, "output": "B"}, "field 'instruction' is null"),
        ({"instruction": "A", "input": ["I"], "output": "B"}, "field 'input' is a list"),
        ({"instruction": "A", "system": {}, "output": "B"}, "field 'system' is a JSON object"),
        ({"text": ""}, "field 'text' is empty"),
        ({"text": True}, "field 'text' is a boolean"),
        ({"messages": {}}, "field 'messages' must be a list with at least one message"),
        ({"messages": []}, "field 'messages' must be a list with at least one message"),
        ({"messages": ["A"]}, r"field 'messages\[0\]' must be a JSON object with 'role' and 'content'"),
        ({"messages": [{"role": "user"}]}, r"field 'messages\[0\]' has no 'content'"),
        ({"messages": [{"role": "user", "content": [{"text": "A"}]}]}, r"'messages\[0\]': 'content' is a list"),
        ({"messages": [{"role": "tool", "content": "A"}]}, r"'messages\[0\]' has the unknown role 'tool'"),
        ({"messages": [{"role": "assistant", "content": "A"}]}, r"'messages\[0\]' has the role 'assistant' out of order"),
        ({"messages": [{"role": "system", "content": "A"}]}, "has a system message alone"),
        ({"messages": said("role", "A", "B", "C")}, "ends with the user's turn; a response must end it"),
        ({"messages": said("role", "A", "")}, r"'messages\[1\]' is an empty response"),
        ({"conversations": [*said("from", "A"), *said("from", "B")]}, r"'conversations\[1\]' has the role 'human' out of order"),
        ({"conversations": [*said("from", "A", "B"), {"from": "system", "value": "S"}]},
         r"'conversations\[2\]' has the role 'system', which may only stand first"),
        ({"messages": [{"role": "system", "content": "S"}, *said("role", "A", "B")], "system": "S"},
         "has a field 'system' and a system message"),
        ({"prompt": "A", "chosen": "B"}, "has no field 'rejected'; a pair needs chosen and rejected"),
        ({"prompt": "A", "rejected": "B"}, "has no field 'chosen'; a pair needs"),
        ({"prompt": "A", "chosen": "B", "rejected": " "}, "field 'rejected' is empty"),
        ({"prompt": "A", "chosen": 1, "rejected": "B"}, "field 'chosen' is a number"),
        ({"chosen": "A", "rejected": "B"}, "has 'chosen', 'rejected' and is no example"),
        ({"conversations": said("from", "A", "B"), "chosen": "C", "rejected": "D"},
         "the prompt before chosen and rejected ends with a response; the user's turn must end it"),
        ({"chosen": said("role", "A", "B"), "rejected": said("role", "C", "D")},
         "field 'rejected' begins with another conversation"),
        ({"prompt": "A", "chosen": "B", "rejected": said("role", "A", "D")}, "must both be texts or both lists"),
        ({"chosen": said("role", "A", "B")[1:], "rejected": said("role", "A", "B")[1:]}, "has no prompt before chosen"),
        ({"chosen": said("role", "A"), "rejected": said("role", "A")}, "field 'chosen' ends with the role 'user'"),
        ({"chosen": said("role", "A", ""), "rejected": said("role", "A", "B")}, "'chosen' ends with an empty response"),
    ],
)  # fmt: skip
def test_every_mistake_is_one_sentence_that_names_file_line_and_field(tmp_path, record, sentence):
    line = record if isinstance(record, bytes) else (record if isinstance(record, str) else json.dumps(record)).encode()  # fmt: skip
    (tmp_path / "own.jsonl").write_bytes(b'{"text": "A"}\n' * 2 + line + b'\n{"text": "A"}\n')
    records = read_records(tmp_path / "own.jsonl")
    assert [next(records)[:2], next(records)[:2]] == [(1, 0), (2, 14)]
    with pytest.raises(UserError, match=f"own.jsonl, line 3[ :].*{sentence}") as caught:
        next(records)
    assert "\n" not in str(caught.value) and str(caught.value).count("own.jsonl") == 1


def test_lines_come_with_the_bytes_at_which_they_start(tmp_path):
    lines = [
        json.dumps({"text": text}, ensure_ascii=False).encode() for text in ("富士", "川", "A")
    ]
    path = tmp_path / "own.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\r\n" + lines[1] + b"\n" + lines[2])
    found = list(read_records(path))
    assert [record for _, _, record in found] == [Text("富士"), Text("川"), Text("A")]
    data = path.read_bytes()
    for (number, offset, _), line in zip(found, lines, strict=True):
        start = offset + (3 if number == 1 else 0)
        assert data[start : start + len(line)] == line


def test_a_json_array_is_read_record_by_record(tmp_path):
    records = [{"instruction": "A", "output": "B"}, {"text": "A", "output": "B"}]
    (tmp_path / "own.json").write_text("\ufeff" + json.dumps(records, indent=4), encoding="utf-8")
    assert list(read_records(tmp_path / "own.json")) == [(1, 0, A_B), (2, 0, A_B)]
    (tmp_path / "own.json").write_text(json.dumps([*records, {"instruction": "A"}]))
    with pytest.raises(UserError, match="own.json, record 3 has no field 'output'"):
        list(read_records(tmp_path / "own.json"))
    (tmp_path / "own.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert [number for number, _, _ in read_records(tmp_path / "own.json")] == [1, 2]
    (tmp_path / "own.json").write_text("[{]")
    with pytest.raises(UserError, match="own.json is not JSON"):
        list(read_records(tmp_path / "own.json"))


def test_a_ten_megabyte_line_is_refused_without_being_read(tmp_path):
    path = tmp_path / "own.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "A"}\n{"text": "')
        file.truncate(3 << 30)  # a hole: three gigabytes without a newline
    begin = time.perf_counter()
    with pytest.raises(UserError, match=f"own.jsonl, line 2 is longer than {MAX_RECORD_BYTES:,} bytes"):  # fmt: skip
        list(read_records(path))
    assert time.perf_counter() - begin < 5
    whole = b'{"text": "' + b"a" * (MAX_RECORD_BYTES - 12) + b'"}'
    path.write_bytes(whole + b"\r\n" + whole + b"\n")
    assert [number for number, _, _ in read_records(path)] == [1, 2]
    path.write_bytes(whole[:-2] + b'a"}\n')
    with pytest.raises(UserError, match="line 1 is longer than"):
        list(read_records(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no file of examples .*own.jsonl"):
        list(read_records(tmp_path / "own.jsonl"))
    with pytest.raises(UserError, match="is a folder"):
        list(read_records(tmp_path))


def test_messages_of_a_chat_are_read():
    assert parse_messages(said("role", "A", "B", "C")) == ASKED
    with pytest.raises(UserError, match=r"messages: field 'messages\[1\]' has the role 'user' out of order"):  # fmt: skip
        parse_messages(said("role", "A") * 2)


def test_a_conversation_checks_itself():
    with pytest.raises(UserError, match="turn 2 has the role 'user' after 'user'"):
        Conversation((Turn("user", "A"), Turn("user", "B")))
    with pytest.raises(UserError, match="turn 1 has the role 'assistant' first"):
        Conversation((Turn("assistant", "A"),))
    with pytest.raises(UserError, match="at least one turn"):
        Conversation(())
    with pytest.raises(UserError, match="role = 'gpt' must be 'user' or 'assistant'"):
        Turn("gpt", "A")
    with pytest.raises(UserError, match="ends with a response"):
        Pair(A_B, "C", "D")
