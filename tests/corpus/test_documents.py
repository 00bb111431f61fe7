"""Documents: what is written comes back, a bad line is named, and the split depends on the text alone."""

import hashlib

import pytest

from llmjp_jax.corpus import load_manifest, read_documents, split_of, write_documents
from llmjp_jax.errors import UserError

TEXTS = ["", "a\nb", "日本語\u2028\0\t", "𩸽" * 1000, '"\\']


def test_documents_come_back_with_their_line_numbers(tmp_path):
    documents = [{"text": text, "meta": {"id": str(n)}} for n, text in enumerate(TEXTS)]
    assert write_documents(tmp_path / "new" / "a.jsonl", iter(documents)) == len(TEXTS)
    assert list(read_documents(tmp_path / "new" / "a.jsonl")) == list(enumerate(documents, 1))


def test_meta_may_be_missing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}')
    assert list(read_documents(tmp_path / "a.jsonl")) == [(1, {"text": "x", "meta": {}})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3 is not JSON"),
        ("", "line 3 is empty"),
        ("text", "line 3 is not JSON"),
        ('{"text": "\\ud800"}', "line 3 is not JSON"),
        ('["text"]', "line 3 is not a JSON object"),
        ('{"Text": "a"}', "line 3 has no field 'text'"),
        ('{"text": null}', "line 3: field 'text' is of type NoneType"),
        ('{"text": ["a"]}', "line 3: field 'text' is of type list"),
        ('{"text": "a", "meta": 1}', "line 3: field 'meta' is of type int"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path, line, message):
    file = tmp_path / "bad.jsonl"
    file.write_text(f'{{"text": "a"}}\n{{"text": "b"}}\n{line}\n{{"text": "c"}}\n')
    documents = read_documents(file)
    assert [next(documents)[0], next(documents)[0]] == [1, 2]
    with pytest.raises(UserError, match=message) as error:
        next(documents)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "bad.jsonl").write_bytes(b'{"text": "\xff"}\n')
    with pytest.raises(UserError, match="line 1 is not JSON"):
        list(read_documents(tmp_path / "bad.jsonl"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no corpus file .*none.jsonl"):
        list(read_documents(tmp_path / "none.jsonl"))


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    write_documents(tmp_path / "a.jsonl", [{"text": "old", "meta": {}}])

    def documents():
        yield {"text": "new", "meta": {}}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_documents(tmp_path / "a.jsonl", documents())
    assert [document["text"] for _, document in read_documents(tmp_path / "a.jsonl")] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_the_split_is_the_place_of_the_sha256():
    for n in range(1000):
        place = int(hashlib.sha256(str(n).encode()).hexdigest(), 16) / 2**256
        assert split_of(str(n), 0.1) == ("validation" if place < 0.1 else "train")
    share = sum(split_of(str(n), 0.1) == "validation" for n in range(10_000)) / 10_000
    assert 0.09 < share < 0.11


def test_a_smaller_validation_split_is_part_of_a_larger_one():
    small, large = (
        {n for n in range(3000) if split_of(str(n), f) == "validation"} for f in (0.05, 0.2)
    )
    assert small < large


def test_the_quickstart_manifest_is_whole_and_unknown_ones_are_named():
    manifest = load_manifest("quickstart")
    assert len(manifest["tatoeba"]["sha256"]) == len(manifest["tatoeba"]["member_sha256"]) == 64
    with pytest.raises(
        UserError, match=r"no manifest .*nothing.toml; the known ones are: .*quickstart"
    ):
        load_manifest("nothing")
