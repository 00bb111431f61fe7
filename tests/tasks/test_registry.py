"""Tasks, Mixtures and the JSONL source, as SeqIO sees them. Imports TensorFlow."""

from __future__ import annotations

import sys

import pytest
import sentencepiece

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import load_vocabulary

seqio = pytest.importorskip("seqio")

from llmjp_jax import tasks  # noqa: E402
from llmjp_jax.tasks import read_texts  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small Unigram model with byte fallback, as a .model file."""
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    texts = [f"{name} train validation {n}" for n in range(100) for name in ("ja", "en", "code")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(path.with_suffix("")),
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return path


@pytest.fixture
def vocabulary(model):
    return load_vocabulary(model)


@pytest.fixture
def files(tmp_path):
    for name in ("ja", "en", "code"):
        for split in ("train", "validation"):
            (tmp_path / name).mkdir(exist_ok=True)
            texts = [f"{name} {split} {n}" for n in range(5)]
            write_documents(tmp_path / name / f"{split}.jsonl", [{"text": text} for text in texts])
    return tmp_path


def test_our_vocabulary_is_one_of_seqios(vocabulary):
    assert isinstance(vocabulary, seqio.Vocabulary)


def test_examples_are_the_texts_tokenised_and_ended(files, vocabulary):
    task = tasks.register_jsonl_task("t", {"train": files / "ja" / "train.jsonl"}, vocabulary)
    ids = [
        e["targets"].tolist()
        for e in task.get_dataset(None, "train", shuffle=False).as_numpy_iterator()
    ]
    assert ids == [[*vocabulary.encode(f"ja train {n}"), vocabulary.eos_id] for n in range(5)]


def test_the_files_of_a_source_are_its_shards(files):
    paths = [files / name / "train.jsonl" for name in ("ja", "en", "code")]
    source = tasks.JsonlSource({"train": paths})
    assert list(source.list_shards("train")) == [str(path) for path in paths]
    seen = []
    for index in range(2):
        shard = seqio.ShardInfo(index=index, num_shards=2)
        dataset = source.get_dataset("train", shuffle=False, shard_info=shard)
        seen.append(
            [example["targets"].decode().split()[0] for example in dataset.as_numpy_iterator()]
        )
    assert seen == [["ja"] * 5 + ["code"] * 5, ["en"] * 5]
    every = source.get_dataset("train", shuffle=True, seed=1).as_numpy_iterator()
    assert len({example["targets"] for example in every}) == 15


def test_reading_can_begin_in_the_middle(files):
    path = files / "en" / "train.jsonl"
    everything = list(read_texts(path))
    assert [line for line, *_ in everything] == [1, 2, 3, 4, 5]
    line, begins, *_ = everything[2]
    assert list(read_texts(path, begins, line)) == everything[2:]


@pytest.mark.parametrize(
    "line, message",
    [
        (b'{"text": "a"', "line 2 is not JSON"),
        (b'{"meta": {}}', "line 2 has no field 'text'"),
        (b'{"text": 5}', "line 2: field 'text' is of type int"),
        (b"[1]", "line 2 is not a JSON object"),
        (b"", "line 2 is empty"),
        (b'{"text": "\xff"}', "line 2 is not JSON"),
        (b'{"text": "\\ud800"}', "line 2 is not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(UserError, match=rf"x\.jsonl, {message}"):
        list(read_texts(tmp_path / "x.jsonl"))


def test_a_users_module_registers_its_own_tasks(tmp_path, monkeypatch):
    (tmp_path / "my_own_tasks.py").write_text(
        "import seqio\n"
        "seqio.TaskRegistry.add('my_task', source=seqio.TextLineDataSource({'train': 'x.txt'}),"
        " preprocessors=[], output_features={}, metric_fns=[])\n"
    )
    (tmp_path / "broken_tasks.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    assert tasks.get_task_or_mixture("my_task", module="my_own_tasks").name == "my_task"
    with pytest.raises(UserError, match="there is no module not_mine"):
        tasks.get_task_or_mixture("x", module="not_mine")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        tasks.get_task_or_mixture("x", module="broken_tasks")
    sys.path.remove(str(tmp_path))


def test_a_name_that_is_not_there_is_answered_with_the_nearest(files, vocabulary):
    tasks.register_jsonl_task("nearly_this", {"train": files / "ja" / "train.jsonl"}, vocabulary)
    with pytest.raises(UserError, match="did you mean nearly_this"):
        tasks.get_task_or_mixture("nearly_thiss")
    with pytest.raises(UserError, match="change the name"):
        tasks.register_jsonl_task("no spaces", {"train": "x"}, vocabulary)
