"""Records for tuning as SeqIO Tasks, and the command that makes stores of them. Imports TensorFlow."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmjp_jax.conversations import encode, encode_pair, get_template, parse_record
from llmjp_jax.corpus.tunings import load_tuning
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Examples, TokenStore, read_weights
from llmjp_jax.inputs.sources import Source
from llmjp_jax.tokenizer import load_vocabulary

seqio = pytest.importorskip("seqio")

from llmjp_jax import tasks  # noqa: E402
from tools import cache_tasks  # noqa: E402

RECORDS = [
    {"instruction": "本を読む。", "input": "学校で", "output": "読んだ。"},
    {"messages": [{"role": "user", "content": "水"}, {"role": "assistant", "content": "飲む。"},
                  {"role": "user", "content": "very quiet"}, {"role": "assistant", "content": "yesterday"}]},
    {"conversations": [{"from": "human", "value": "昨日"}, {"from": "gpt", "value": "友達と話した。"}]},
    {"text": "以下は、\n\n### 指示:\n私は\n\n### 応答:\n見た。"},
    {"text": "応答のない文。"},
]  # fmt: skip
PAIRS = [
    {"instruction": f"問い {n}", "chosen": "とても静かな町で", "rejected": "book " * n}
    for n in range(1, 4)
]


@pytest.fixture(scope="module")
def vocabulary(tiny_vocabulary):
    return load_vocabulary(tiny_vocabulary)


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def encoded(vocabulary, records, template="v1.1", bos=False):
    """(ids, weights) of the records that have a response, in order; of pairs the chosen before the rejected sequence."""
    sequences = []
    for record in records:
        parsed = parse_record(json.dumps(record).encode(), "x")
        if "chosen" in record:
            sequences += encode_pair(vocabulary, parsed, get_template(template), bos)
        else:
            sequences.append(encode(vocabulary, parsed, get_template(template), bos=bos))
    return [(one.ids.tolist(), one.weights.tolist()) for one in sequences if one.weights.any()]


def through_seqio(task, split="train"):
    """The same from a Task's own dataset."""
    sequences = []
    for example in task.get_dataset(None, split, shuffle=False).as_numpy_iterator():
        for name in ("targets", "chosen", "rejected"):
            if name in example:
                prefix = "" if name == "targets" else f"{name}_"
                sequences.append((example[name].tolist(), example[f"{prefix}loss_weights"].tolist()))  # fmt: skip
    return sequences


def stored(prefix):
    """The same from a store."""
    store = TokenStore(prefix)
    ends = np.cumsum([len(ids) for ids in store])
    masks = np.split(store.mask, ends[:-1])
    return [(ids.tolist(), mask.tolist()) for ids, mask in zip(store, masks, strict=True)]


@pytest.mark.parametrize("template", ["v1.1", "v1.0", "llm_jp_3"])
def test_seqio_and_the_store_have_the_ids_and_weights_of_the_records(tmp_path, vocabulary, template):  # fmt: skip
    from llmjp_jax.inputs.build import cache_task

    file = write(tmp_path / "a.jsonl", RECORDS)
    task = tasks.register_instruction_task("t", {"train": file}, vocabulary, template)
    expected = encoded(vocabulary, RECORDS, template)
    assert len(expected) == (3 if template == "v1.0" else 4)  # v1.0 has other markers in its texts
    assert through_seqio(task) == expected
    cache_task("t", tmp_path / "cache")
    assert stored(tmp_path / "cache" / "t" / "train") == expected
    for ids, weights in expected:
        assert ids[-1] == vocabulary.eos_id and weights[-1] == 1 and 0 in weights


@pytest.mark.parametrize("bos", [False, True])
def test_pairs_have_both_sequences_side_by_side(tmp_path, vocabulary, bos):
    from llmjp_jax.inputs.build import cache_task

    file = write(tmp_path / "a.jsonl", PAIRS)
    task = tasks.register_instruction_task("p", {"train": [file]}, vocabulary, "v1.1", kind="pairs", bos=bos)  # fmt: skip
    expected = encoded(vocabulary, PAIRS, bos=bos)
    assert len(expected) == 6 and (expected[0][0][0] == vocabulary.bos_id) == bos
    assert through_seqio(task) == expected
    cache_task("p", tmp_path / "cache")
    assert stored(tmp_path / "cache" / "p" / "train") == expected


def test_seqio_cuts_and_shuffles_them_as_any_others(tmp_path, vocabulary):
    files = [write(tmp_path / f"{n}.jsonl", RECORDS[n : n + 1]) for n in range(4)]
    task = tasks.register_instruction_task("t", {"train": files}, vocabulary, "v1.1")
    lengths = {"targets": 8, "loss_weights": 8}
    cut = list(task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator())
    whole = through_seqio(task)
    assert [one["targets"].tolist() for one in cut] == [ids[:8] for ids, _ in whole]
    assert [one["loss_weights"].tolist() for one in cut] == [weights[:8] for _, weights in whole]
    shuffled = [one["targets"].tolist() for one in task.get_dataset(None, "train", seed=1).as_numpy_iterator()]  # fmt: skip
    assert sorted(shuffled) == sorted(ids for ids, _ in whole)
    shard = seqio.ShardInfo(index=1, num_shards=2)
    half = task.source.get_dataset("train", shuffle=False, shard_info=shard).as_numpy_iterator()
    assert [one["targets"].tolist() for one in half] == [whole[1][0], whole[3][0]]


def test_a_record_of_the_other_kind_and_unknown_words_are_refused(tmp_path, vocabulary):
    file = {"train": write(tmp_path / "a.jsonl", [RECORDS[0], PAIRS[0]])}
    with pytest.raises(UserError, match="did you mean 'v1.1'"):
        tasks.register_instruction_task("t", file, vocabulary, "v1.11")
    with pytest.raises(UserError, match="kind = 'pair' must be one of"):
        tasks.register_instruction_task("t", file, vocabulary, "v1.1", kind="pair")
    for kind, place in (("examples", "record 2 is a pair"), ("pairs", "record 1 is no pair")):
        source = tasks.RecordSource(file, vocabulary, "v1.1", kind)
        with pytest.raises(UserError, match=rf"a\.jsonl, {place}"):
            list(source._examples(source.list_shards("train")))


# LLM-jp's sets.


def instructions(count, answer="読んだ。"):
    return [{"ID": f"x-{n}", "instruction": f"本を読む {n}", "input": "", "output": answer} for n in range(count)]  # fmt: skip


def turns(count):
    return [{"conversations": [{"from": "human", "value": f"水 {n}"}, {"from": "gpt", "value": "飲む。"}]} for n in range(count)]  # fmt: skip


def questions(count):
    return [{"ID": f"q-{n}", "text": f"静かな町 {n}", "output": "で"} for n in range(count)]


def dolly(count):
    return [{"instruction": f"本 {n}", "context": "学校" * (n % 2), "response": "行く"} for n in range(count)]  # fmt: skip


def downloads(folder):
    """A few records of every set, where tools/download.py puts them."""
    for split in ("train", "dev_first100"):
        for task in (
            "jamp janli jcommonsenseqa jemhopqa jnli jsem jsick jsquad jsts niilc"
        ).split():
            path = folder / "jaster" / "1.3.0" / "tuning" / split / f"{task}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(instructions(2, "entailment")))
    write(folder / "dolly_en" / "databricks-dolly-15k.jsonl", dolly(3))
    write(folder / "dolly_ja" / "databricks-dolly-15k-ja.jsonl", dolly(4))
    for size, version in ((21, "oasst1"), (33, "oasst2")):
        for language in ("en", "ja"):
            write(
                folder / f"{version}_{language}" / f"{version}-{size}k-{language}.jsonl", turns(5)
            )
    for number in ("003-001-1", "003-001-2.1", "004-001-1"):
        path = folder / "ichikara" / f"ichikara-instruction-{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(questions(3)))
    (folder / "answer_carefully").mkdir()
    (folder / "answer_carefully" / "AnswerCarefullyVersion001_Dev.json").write_text(json.dumps(questions(2)))  # fmt: skip
    pairs = [{"conversations": [{"from": "human", "value": f"問い {n}"}], "chosen": "静かな", "rejected": "町"} for n in range(10)]  # fmt: skip
    write(folder / "hh_rlhf_ja" / "hh-rlhf-12k-ja.jsonl", pairs)
    return folder


@pytest.mark.parametrize(
    "name, records",
    [
        ("tuning_v1_jaster_dolly_oasst", {"jaster": 20, "dolly_ja": 4, "oasst1_ja": 5}),
        ("tuning_v1_1", {"dolly_en": 3, "dolly_ja": 4, "ichikara_003_001": 6, "oasst1_en": 5, "oasst1_ja": 5}),
        ("tuning_v2_ac_16x", {"dolly_en": 3, "dolly_ja": 4, "ichikara_004_001": 3, "oasst1_en": 5, "oasst1_ja": 5,
                              "oasst2_en": 5, "oasst2_ja": 5, "answer_carefully_001": 2}),
        ("preferences_v1_1", {"hh_rlhf_ja": 9}),
    ],
)  # fmt: skip
def test_the_command_makes_a_tuning_of_what_was_downloaded(tmp_path, tiny_vocabulary, vocabulary, capsys, name, records):  # fmt: skip
    flags = [f"--mixture_or_task_name={name}", f"--downloads_dir={downloads(tmp_path / 'downloads')}",
             f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}"]  # fmt: skip
    cache_tasks.main(flags)
    tuning, cache = load_tuning(name), tmp_path / "cache"
    assert read_weights(cache, name) == dict(tuning.repeats) and set(records) == set(tuning.sets)
    parts = 2 if tuning.kind == "pairs" else 1
    for task, count in records.items():
        manifest = TokenStore(cache / task / "train").manifest
        assert (manifest["records"], manifest["documents"]) == (count, parts * count)
        assert (manifest["template"], manifest["kind"]) == (tuning.template, tuning.kind)
        assert manifest["bos"] == tuning.bos
    held_out = {task for task in records if (cache / task / "validation.idx").is_file()}
    assert held_out == {"jaster", "hh_rlhf_ja"} & set(records)
    mixture = tasks.get_task_or_mixture(name)
    assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == dict(tuning.repeats)
    for task in mixture.tasks:
        assert through_seqio(task) == stored(cache / task.name / "train")
    assert "records, where 15,011 are published" in capsys.readouterr().out or "dolly_ja" not in records  # fmt: skip

    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.*") if path.suffix != ".json"}  # fmt: skip
    cache_tasks.main(flags)  # nothing is left to do
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_answer_carefully_is_read_sixteen_times_an_epoch(tmp_path, tiny_vocabulary):
    cache, name = tmp_path / "cache", "tuning_v2_ac_16x"
    cache_tasks.main([f"--mixture_or_task_name={name}", f"--vocabulary={tiny_vocabulary}",
                      f"--downloads_dir={downloads(tmp_path / 'downloads')}", f"--cache_dir={cache}"])  # fmt: skip
    weights = read_weights(cache, name)
    sources = tuple(Source(task, weights[task], TokenStore(cache / task / "train")) for task in weights)  # fmt: skip
    examples = Examples(sources=sources, sequence_length=256, batch_size=1)
    batches = [examples.batch(step, slice(0, 1)) for step in range(examples.steps_per_epoch(0))]
    read = sum(len(set(batch["segment_ids"].ravel().tolist()) - {0}) for batch in batches)
    assert read == 3 + 4 + 3 + 4 * 5 + 16 * 2


def test_a_set_that_is_missing_is_named_before_anything_is_written(tmp_path, tiny_vocabulary, capsys):  # fmt: skip
    folder = downloads(tmp_path / "downloads")
    (folder / "oasst1_ja" / "oasst1-21k-ja.jsonl").unlink()
    with pytest.raises(SystemExit) as ended:
        cache_tasks.main(["--mixture_or_task_name=tuning_v1_1", f"--downloads_dir={folder}",
                          f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}"])  # fmt: skip
    assert ended.value.code == 2 and not (tmp_path / "cache").exists()
    assert "the set oasst1_ja" in capsys.readouterr().err


def test_records_without_an_answer_are_told_of(tmp_path, tiny_vocabulary, capsys):
    folder = downloads(tmp_path / "downloads")
    write(folder / "oasst1_ja" / "oasst1-21k-ja.jsonl", [*turns(2), {"conversations": turns(1)[0]["conversations"][:1]}])  # fmt: skip
    cache_tasks.main(["--mixture_or_task_name=tuning_v1_dolly_oasst", f"--downloads_dir={folder}",
                      f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}"])  # fmt: skip
    printed = capsys.readouterr().out
    assert (
        "oasst1_ja train: 1 records without an answer left out" in printed and "line 3" in printed
    )
    assert "oasst1_ja/train: 2 examples" in printed


# One's own files.


def test_the_command_builds_ones_own_records_with_repeats(tmp_path, tiny_vocabulary, vocabulary, capsys):  # fmt: skip
    chat, care = write(tmp_path / "chat.jsonl", RECORDS), write(tmp_path / "care.jsonl", RECORDS[:1])  # fmt: skip
    common = [f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}"]
    flags = [f"--instructions=chat={chat}", f"--instructions=chat:validation={care}",
             f"--instructions=care={care}", "--weight=care=16", "--mixture_or_task_name=mine", "--template=v1.1"]  # fmt: skip
    cache_tasks.main([*common, *flags])
    assert read_weights(tmp_path / "cache", "mine") == {"chat": 1, "care": 16}
    assert stored(tmp_path / "cache" / "chat" / "train") == encoded(vocabulary, RECORDS)
    assert stored(tmp_path / "cache" / "chat" / "validation") == encoded(vocabulary, RECORDS[:1])
    assert "chat/train: 4 examples, 1 without a response left out" in capsys.readouterr().out
    pairs = write(tmp_path / "pairs.jsonl", PAIRS)
    cache_tasks.main([*common, f"--pairs=likes={pairs}", "--template=v1.1", "--bos"])
    assert stored(tmp_path / "cache" / "likes" / "train") == encoded(vocabulary, PAIRS, bos=True)

    for arguments, message in [
        (["--instructions=chat=gone.jsonl", "--template=v1.1"], "no file gone.jsonl"),
        ([f"--instructions={chat}", "--template=v1.1"], "is not NAME[:SPLIT]=FILE"),
        ([f"--instructions=chat={chat}"], "--instructions needs --template"),
        ([f"--instructions=chat={chat}", f"--pairs=p={pairs}", "--template=v1.1"], "are two sources"),
        ([f"--instructions=chat={chat}", "--template=v1.2"], "did you mean 'v1.1'"),
        ([f"--instructions=chat={chat}", "--template=v1.1", "--weight=chat=3"], "is for several Tasks"),
        ([f"--jsonl=chat={chat}", "--template=v1.1"], "--template is for records"),
        ([f"--jsonl=chat={chat}", "--bos"], "--bos is for records"),
        ([f"--instructions=likes={pairs}", "--template=v1.1"], "it was built with kind = 'pairs'"),
        ([f"--instructions=chat={chat}", "--instructions=chat:validation=" + str(care), "--template=llm_jp_3"],
         "it was built with template = 'v1.1'"),
        ([f"--jsonl=chat={care}"], "the store"),
        (["--downloads_dir=x"], "name what to build"),
    ]:  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            cache_tasks.main([*common, *arguments])
        error = capsys.readouterr().err
        assert ended.value.code == 2 and message in error, (arguments, error)
        assert error.splitlines()[-1].startswith("error: ")


def test_a_bad_record_names_its_file_and_line_and_leaves_no_store(tmp_path, tiny_vocabulary, capsys):  # fmt: skip
    file = write(tmp_path / "chat.jsonl", [RECORDS[0], {"instruction": "a", "output": " "}])
    with pytest.raises(SystemExit):
        cache_tasks.main([f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}",
                          f"--instructions=chat={file}", "--template=v1.1"])  # fmt: skip
    assert "chat.jsonl, line 2: field 'output' is empty" in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("*.idx"))


def test_text_is_not_taken_for_the_examples_that_have_its_name(tmp_path, tiny_vocabulary, capsys):
    file = write(tmp_path / "chat.jsonl", [RECORDS[3]])
    common = [f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}"]
    cache_tasks.main([*common, f"--instructions=chat={file}", "--template=v1.1"])
    with pytest.raises(SystemExit):
        cache_tasks.main([*common, f"--jsonl=chat={file}"])
    assert "it holds examples for tuning" in capsys.readouterr().err
    cache_tasks.main([*common, f"--jsonl=chat={file}", "--overwrite"])
    assert TokenStore(tmp_path / "cache" / "chat" / "train").mask is None


def test_the_command_describes_tunings_and_writes_their_repeats(tmp_path, capsys):
    cache_tasks.main(["--mixture_or_task_name=tuning_v2_ac_16x", "--describe"])
    assert "159,049 examples an epoch, template v1.1" in capsys.readouterr().out
    cache_tasks.main(["--mixture_or_task_name=tuning_v2_ac_16x", "--weights_only", f"--cache_dir={tmp_path}"])  # fmt: skip
    assert read_weights(tmp_path, "tuning_v2_ac_16x")["answer_carefully_001"] == 16
    for flags, message in [
        (["--mixture_or_task_name=tuning_v2_acc", "--describe"], "did you mean tuning_v2_ac"),
        (["--mixture_or_task_name=tuning_v2", f"--cache_dir={tmp_path}"], "add --downloads_dir=DIR"),
    ]:  # fmt: skip
        with pytest.raises(SystemExit):
            cache_tasks.main(flags)
        assert message in capsys.readouterr().err
