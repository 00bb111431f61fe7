"""Reading vocabularies: reference ids, special ids, round trips, offsets, equality, SeqIO's interface, bad files."""

import copy
import json
import pickle
import subprocess
import sys

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary
from llmjp_jax.tokenizer.backends import SentencePieceBackend, TokenizersBackend
from llmjp_jax.tokenizer.model_proto import read_model_proto
from tests.tokenizer.conftest import MODELS, torture_texts


def assert_reference_ids(
    vocabulary: Vocabulary, text: str, ids: list[int], reference: dict
) -> None:
    """Equal ids; where several segmentations are equally good, one of those known or of the same score."""
    if ids == reference["ids"]:
        return
    assert reference["tie"], (text, ids, reference["ids"])
    if ids == reference.get("ids_sp0.1.99"):
        return
    scores = vocabulary.backend.scores
    assert abs(sum(scores[id] for id in ids) - reference["score"]) < 1e-3
    assert vocabulary.decode(ids) == reference["decoded"]


@pytest.mark.parametrize("name", MODELS)
def test_released_models_give_the_reference_ids(released, encode_rows, name):
    vocabulary = released[name]
    batch = vocabulary.encode_batch([row["text"] for row in encode_rows], num_threads=2)
    assert len(encode_rows) == 210
    for row, from_batch in zip(encode_rows, batch, strict=True):
        reference = row["sp"][name]
        ids = vocabulary.encode(row["text"])
        assert_reference_ids(vocabulary, row["text"], ids, reference)
        assert from_batch == ids
        assert vocabulary.decode(ids) == reference["decoded"]
        assert [vocabulary.pieces[id] for id in reference["ids"]] == reference["pieces"]


def test_released_models_decode_as_the_reference(released, shared_data):
    rows = (shared_data / "parity" / "tokenizer" / "decode.jsonl").read_text("utf-8").splitlines()
    for row in map(json.loads, rows):
        assert released[row["model"]].decode(row["ids"]) == row["sp_decoded"], row["kind"]


def test_released_models_have_the_reference_pieces(released, shared_data):
    samples = json.loads((shared_data / "parity" / "tokenizer" / "vocab_sample.json").read_text())
    for name, sample in samples.items():
        vocabulary = released[name]
        assert vocabulary.vocab_size == vocabulary._base_vocab_size == sample["n_pieces"]
        for id, piece, score, _ in sample["pieces"]:
            assert vocabulary.pieces[id] == piece
            assert vocabulary.backend.scores[id] == pytest.approx(score)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v2.1-50k", (4, 1, 7, 0)),
        ("v2.2-50k", (4, 1, 7, 0)),
        ("v2.2-100k", (4, 1, 7, 0)),
        ("v3.0b1", (4, 1, 2, 0)),
    ],
)
def test_released_models_have_llmjps_special_ids(released, name, expected):
    vocabulary = released[name]
    found = (vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id)
    assert found == expected


def train_other_family(folder, training_texts, **options):
    """A SentencePiece model that is not LLM-jp's."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_texts[:2000]),
        model_prefix=str(folder / "other"),
        vocab_size=3000,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return folder / "other.model"


def test_another_model_keeps_the_special_ids_it_declares(tmp_path, training_texts):
    options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "model_type": "bpe"}
    vocabulary = load_vocabulary(train_other_family(tmp_path, training_texts, **options))
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.bos_id is None


def test_a_model_without_pad_pads_with_eos(tmp_path, training_texts):
    vocabulary = load_vocabulary(train_other_family(tmp_path, training_texts))
    assert vocabulary.pad_id == vocabulary.eos_id == 2


@pytest.mark.parametrize("seed", range(3))
def test_any_text_comes_back_from_its_ids(trained, seed):
    for text in torture_texts(seed=seed):
        ids = trained.encode(text)
        assert trained.decode(ids) == text.replace("▁", " ")  # SentencePiece's sign for a space
        assert not set(ids) & {*range(8)}, "the name of a special token became the token"


def test_any_text_comes_back_from_released_models(released):
    for vocabulary in released.values():
        for text in torture_texts(count=100):
            assert vocabulary.decode(vocabulary.encode(text)) == text.replace("▁", " ")


def test_offsets_cover_the_text_in_order(trained):
    for text in torture_texts(count=100):
        ids, spans = trained.offsets(text)
        assert ids == trained.encode(text)
        assert "".join(text[start:end] for start, end in spans) == text
        place = 0
        for start, end in spans:
            assert start == place <= end
            place = end


def test_offsets_of_a_character_cut_into_bytes_lie_on_its_last_byte(trained):
    ids, spans = trained.offsets("𩸽x")
    assert [trained.pieces[id] for id in ids] == ["▁", "<0xF0>", "<0xA9>", "<0xB8>", "<0xBD>", "x"]
    assert spans == [(0, 0), (0, 0), (0, 0), (0, 0), (0, 1), (1, 2)]


def test_decoding_leaves_out_special_tokens_and_goes_on_after_eos(trained):
    b = trained.pieces.index("b")
    ids = [*trained.encode("a"), trained.eos_id, b, trained.pad_id, trained.bos_id]
    assert trained.decode(ids) == "ab"


def test_decoding_takes_ids_beyond_the_vocabulary_as_unknown(trained):
    assert trained.decode([trained.vocab_size + 5]) == trained.decode([trained.unk_id])
    with pytest.raises(ValueError, match="-1 is negative"):
        trained.decode([-1])


def test_a_lone_surrogate_is_named(trained):
    with pytest.raises(ValueError, match="lone surrogate .* at character 1"):
        trained.encode("a\ud800")
    with pytest.raises(ValueError, match="lone surrogate"):
        trained.encode_batch(["a", "\ud800"])


def changed(trained, tmp_path, change) -> Vocabulary:
    proto = read_model_proto(trained.path)
    change(proto)
    file = tmp_path / "changed.model"
    file.write_bytes(proto.SerializeToString())
    return load_vocabulary(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda proto: setattr(proto.pieces[500], "score", proto.pieces[500].score + 1e-4),
        lambda proto: setattr(proto.pieces[500], "piece", "新しい片"),
        lambda proto: setattr(proto.pieces[500], "type", 5),
        lambda proto: setattr(proto.normalizer_spec, "add_dummy_prefix", False),
        lambda proto: setattr(proto.pieces[7], "piece", "<END>"),
    ],
    ids=["score", "piece", "type", "rules", "special"],
)
def test_the_fingerprint_changes_with_anything_that_changes_ids(trained, tmp_path, change):
    other = changed(trained, tmp_path, change)
    assert other.fingerprint != trained.fingerprint
    assert other != trained


def test_the_fingerprint_does_not_depend_on_where_the_file_lies(trained, tmp_path):
    same = changed(trained, tmp_path, lambda proto: None)
    assert same == trained
    assert hash(same) == hash(trained)


def test_a_vocabulary_survives_pickling_and_copying(trained):
    assert pickle.loads(pickle.dumps(trained)) == trained
    assert copy.deepcopy(trained) == trained
    assert pickle.loads(pickle.dumps(trained)).encode("本を読む。") == trained.encode("本を読む。")


def bpe_directory(folder):
    """A small byte-level BPE, as GPT-2's, with the special token at the end."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat", "日本語の文"] * 20, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <|endoftext|>",
        special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def test_a_tokenizer_json_of_another_family_gives_its_own_ids(tmp_path):
    tokenizer = bpe_directory(tmp_path)
    config = {"eos_token": {"content": "<|endoftext|>"}, "bos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    vocabulary = load_vocabulary(tmp_path)
    assert isinstance(vocabulary.backend, TokenizersBackend)
    end = tokenizer.token_to_id("<|endoftext|>")
    assert (vocabulary.eos_id, vocabulary.bos_id, vocabulary.pad_id) == (end, end, end)
    assert vocabulary.unk_id is None
    assert vocabulary.vocab_size == tokenizer.get_vocab_size() == end + 1
    texts = [text for text in torture_texts(count=50) if text]
    for text, from_batch in zip(texts, vocabulary.encode_batch(texts), strict=True):
        ids = vocabulary.encode(text)
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids == from_batch
        assert vocabulary.decode([*ids, end]) == text
    assert end not in vocabulary.encode("a<|endoftext|>b")
    assert vocabulary.decode(vocabulary.encode("a<|endoftext|>b")) == "a<|endoftext|>b"
    assert vocabulary.offsets("the cat")[1][-1][1] == len("the cat")
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary


def test_a_directory_prefers_tokenizer_json_and_refuses_two_models(tmp_path, trained):
    model = read_model_proto(trained.path).SerializeToString()
    (tmp_path / "a.model").write_bytes(model)
    assert load_vocabulary(tmp_path) == trained
    (tmp_path / "b.model").write_bytes(model)
    with pytest.raises(UserError, match=r"several .model files \(a.model, b.model\)"):
        load_vocabulary(tmp_path)
    bpe_directory(tmp_path)
    assert load_vocabulary(tmp_path).path.endswith("tokenizer.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.model", b"not a model", "not a SentencePiece model or is damaged"),
        ("a.model", b"", "holds no pieces"),
        ("tokenizer.json", b"{", "is not JSON"),
        ("tokenizer.json", b"[]", "no field 'model'"),
        ("tokenizer.json", b'{"model": {"type": "Nothing"}}', "not a tokenizer that can be read"),
        ("a.txt", b"", "neither a SentencePiece .model nor a tokenizer.json"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_vocabulary(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(UserError, match="no vocabulary at .*nowhere"):
        load_vocabulary(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no tokenizer.json and no .model"):
        load_vocabulary(tmp_path)


def test_a_config_that_names_a_missing_token_is_refused(tmp_path):
    bpe_directory(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    with pytest.raises(
        UserError, match="names eos_token '</s>', which tokenizer.json does not have"
    ):
        load_vocabulary(tmp_path)


def test_a_config_that_is_no_object_is_refused(tmp_path):
    bpe_directory(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(UserError, match="tokenizer_config.json is not a JSON object"):
        load_vocabulary(tmp_path)


def test_a_seqio_task_tokenizes_with_the_vocabulary(trained):
    tf = pytest.importorskip("tensorflow")
    seqio = pytest.importorskip("seqio")
    seqio.Vocabulary.register(Vocabulary)
    texts = ["本を読む。", "Hello\n  world", "", "𩸽\0"]

    def source(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices({"targets": texts})

    task = seqio.Task(
        "vocabulary_under_test",
        source=seqio.FunctionDataSource(source, splits=["train"]),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={"targets": seqio.Feature(trained, add_eos=True, dtype=tf.int32)},
    )
    examples = task.get_dataset(None, "train", shuffle=False).as_numpy_iterator()
    assert [example["targets"].tolist() for example in examples] == [
        [*trained.encode(text), trained.eos_id] for text in texts
    ]
    ids = tf.constant([trained.encode("本を読む。"), trained.encode("本を読む。")])
    assert [text.decode() for text in trained.decode_tf(ids).numpy()] == ["本を読む。"] * 2
    assert trained.decode_tf(ids[0]).numpy().decode() == "本を読む。"


def test_reading_a_vocabulary_imports_no_framework(trained):
    program = f"""
import sys
from llmjp_jax.tokenizer import load_vocabulary
assert load_vocabulary({trained.path!r}).encode("本")
found = {{"tensorflow", "seqio", "jax", "torch", "transformers"}} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", program], cwd=repository_root(), check=True)


def test_sentencepiece_backend_is_used_for_models(trained):
    assert isinstance(trained.backend, SentencePieceBackend)
    assert trained.extra_ids == 0
