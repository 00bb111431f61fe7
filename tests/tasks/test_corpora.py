"""The manifests' mixtures as SeqIO Tasks and Mixtures. Imports TensorFlow."""

from __future__ import annotations

import json

import pytest

from llmjp_jax.corpus import load_mixtures, write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import load_vocabulary

pytest.importorskip("seqio")

from llmjp_jax import tasks  # noqa: E402
from tools import cache_tasks  # noqa: E402


def write(corpora, folder, *names):
    (corpora / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        texts = [f"{folder} {name} {n}" for n in range(5)]
        write_documents(corpora / folder / f"{name}.jsonl", [{"text": text} for text in texts])


@pytest.fixture
def vocabulary(tiny_vocabulary):
    return load_vocabulary(tiny_vocabulary)


def test_the_quick_start_has_three_tasks_in_llmjps_proportions(tmp_path, vocabulary):
    for name in ("ja", "en", "code"):
        write(tmp_path, name, "train", "validation")
    (quickstart,) = load_mixtures("quickstart")
    for _ in range(2):  # a notebook's cell runs twice
        mixture = tasks.register_corpora(quickstart, tmp_path, vocabulary)
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates == {"quickstart_ja": 50, "quickstart_en": 45, "quickstart_code": 5}
    assert tasks.get_task_or_mixture("quickstart") is mixture
    task = tasks.get_task_or_mixture("quickstart_code")
    assert set(task.splits) == {"train", "validation"}
    dataset = task.get_dataset(None, "validation", shuffle=False)
    texts = [example["targets_pretokenized"].decode() for example in dataset.as_numpy_iterator()]
    assert texts == [f"code validation {n}" for n in range(5)]


def test_corpus_v2_is_read_from_a_folder_a_subset_with_one_file_or_many(tmp_path, vocabulary):
    for name in ("ja_wiki", "en_wiki", "code_stack", "en_pile"):
        write(tmp_path, name, "train", "validation")
    write(tmp_path, "ja_cc_v2", "train_CC-MAIN-2017-09", "train_CC-MAIN-2017-04")
    (corpus,) = load_mixtures("corpus_v2")
    mixture = tasks.register_corpora(corpus, tmp_path, vocabulary)
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates == corpus.task_weights
    task = tasks.get_task_or_mixture("ja_cc_v2")
    assert set(task.splits) == {"train"}  # no validation files: no such split
    dataset = task.get_dataset(None, "train", shuffle=False)
    texts = [example["targets_pretokenized"].decode() for example in dataset.as_numpy_iterator()]
    assert texts[0] == "ja_cc_v2 train_CC-MAIN-2017-04 0" and len(texts) == 10


def test_a_missing_subset_is_named_with_its_source(tmp_path, vocabulary):
    write(tmp_path, "ja_wiki", "validation")
    (corpus,) = load_mixtures("corpus_v2")
    with pytest.raises(
        UserError, match=r"ja_wiki has no file train\*.jsonl.*Wikipedia in Japanese"
    ):
        tasks.register_corpora(corpus, tmp_path, vocabulary)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("corpus_v2", "--weights_only"), ("corpus_v9", "did you mean corpus_v")],
)
def test_a_mixture_without_its_text_is_one_sentence_with_what_to_add(
    tmp_path, capsys, name, sentence
):
    with pytest.raises(SystemExit) as ended:
        cache_tasks.main([f"--mixture_or_task_name={name}", f"--cache_dir={tmp_path}"])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_corpus_in_folds_becomes_a_mixture_a_fold(tmp_path, tiny_vocabulary):
    for fold in range(10):
        for name in ("ja_wiki", "ja_cc", "en_wiki", "en_pile", "code_stack"):
            write(tmp_path / "corpora", f"{name}/fold_{fold:02}", "train")
    cache_tasks.main([
        "--mixture_or_task_name=corpus_v1", f"--corpora_dir={tmp_path / 'corpora'}",
        f"--vocabulary={tiny_vocabulary}", f"--cache_dir={tmp_path / 'cache'}",
    ])  # fmt: skip
    written = json.loads((tmp_path / "cache" / "corpus_v1_fold_07.mixture.json").read_text())
    assert written["weights"]["ja_cc_fold_07"] == 129_000_000_000
    # The manifest's order, on which Megatron's blend depends; SeqIO's own is by name.
    assert list(written["weights"]) == list(load_mixtures("corpus_v1")[7].task_weights)
    assert (tmp_path / "cache" / "ja_cc_fold_07" / "train.bin").is_file()
    assert len(list((tmp_path / "cache").glob("*.mixture.json"))) == 10
