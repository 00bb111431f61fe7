"""LanguageModel: text that reads on from its prompt, scores of text, and the folders it loads from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax import LanguageModel
from llmjp_jax.checkpoints import save_hf
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, abstract_decoder, assemble, disassemble
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.tokenizer.training import train_unigram

ROOT = Path(__file__).parents[1]
TEXTS = ["昔々あるところに、おじいさんとおばあさんが住んでいました。", "def f(x):\n    return x + 1\n",
         "The quick brown fox jumps over the lazy dog."]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    train_unigram([(ROOT / "LICENSE").read_text(), *TEXTS * 20], path, vocab_size=500)
    return load_vocabulary(path)


def make_config(vocabulary, **changes) -> ModelConfig:
    fields = {"vocab_size": vocabulary.vocab_size, "layers": 2, "embed": 32, "heads": 4, "mlp": 64, "max_length": 64,
              "position": "learned", "norm": "layernorm", "activation": "gelu_tanh", "bias": True,
              "tied_embeddings": True, "initializer_std": 0.3}  # fmt: skip
    return ModelConfig(**fields | changes)


@pytest.fixture(scope="module")
def model(vocabulary) -> LanguageModel:
    return LanguageModel(Decoder(make_config(vocabulary)), vocabulary)


@pytest.fixture(scope="module")
def hf_directory(model, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("hf") / "model"
    save_hf(model.model, model.config, directory, vocabulary=model.vocabulary)
    return directory


def model_that_writes(vocabulary, tokens: list[int]) -> LanguageModel:
    """A model that says after position i tokens[i], whatever it reads, and in the end eos.

    Attention and MLP write nothing, so the next token depends on the position alone: each position's embedding is its
    own axis, and the output matrix maps it to the token that comes after it.
    """
    config = make_config(vocabulary, embed=64, tied_embeddings=False)
    parameters = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), disassemble(Decoder(config)))
    parameters["embed"]["positions"] = np.eye(64, dtype=np.float32)
    parameters["final_norm"]["scale"] = np.ones(64, np.float32)
    for position, token in enumerate([*tokens, vocabulary.eos_id]):
        parameters["head"]["kernel"][position, token] = 1.0
    parameters = jax.tree.map(jax.numpy.asarray, parameters)
    return LanguageModel(assemble(abstract_decoder(config)[0], parameters), vocabulary)


# Text


@pytest.mark.parametrize("text", [*TEXTS, "𩸽を食べる", "  two  spaces", "é 😀 ok"])
def test_a_continuation_is_the_text_that_was_written_to_the_byte(vocabulary, text):
    model = model_that_writes(vocabulary, vocabulary.encode(text))
    assert model.generate("", max_new_tokens=60) == [text]
    assert "".join(model.stream("", max_new_tokens=60)) == text


def test_a_continuation_keeps_the_space_that_parts_it_from_the_prompt(vocabulary):
    prompt = "def f"
    unused = [0] * (len(vocabulary.encode(prompt)) - 1)  # nothing is written inside the prompt
    model = model_that_writes(vocabulary, unused + vocabulary.encode("dog"))
    assert model.generate([prompt, prompt], max_new_tokens=30) == [" dog", " dog"]
    assert model.generate(prompt, max_new_tokens=30) == [" dog"]


def test_a_stream_never_yields_half_a_character(vocabulary):
    model = model_that_writes(vocabulary, vocabulary.encode("a𩸽b"))
    pieces = list(model.stream("", max_new_tokens=30))
    assert "".join(pieces) == "a𩸽b"
    assert len(pieces) >= 2
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_generation_stops_at_eos_and_does_not_show_it(vocabulary):
    model = model_that_writes(
        vocabulary, [*vocabulary.encode("The"), vocabulary.eos_id, *vocabulary.encode("dog")]
    )
    assert model.generate("", max_new_tokens=30) == ["The"]


def test_the_same_seed_gives_the_same_texts_for_any_batch_size(model):
    options = {"max_new_tokens": 12, "temperature": 1.0, "top_p": 0.9}
    texts = model.generate(TEXTS, seed=1, **options)
    assert model.generate(TEXTS, seed=1, batch_size=1, **options) == texts
    assert model.generate(TEXTS, seed=2, **options) != texts


# Scores


def test_logprobs_are_those_of_the_model_token_by_token(model, vocabulary):
    texts = [*TEXTS, "", "a"]
    scores = model.logprobs(texts, batch_size=2)
    for text, found in zip(texts, scores, strict=True):
        ids = vocabulary.encode(text)
        tokens = np.zeros((1, 64), np.int32)
        tokens[0, : len(ids) + 1] = [vocabulary.eos_id, *ids]
        expected = np.asarray(jax.nn.log_softmax(model.model(tokens)))[0, np.arange(len(ids)), ids]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_logprobs_are_normalised_over_the_vocabulary_without_its_padding(vocabulary):
    config = make_config(vocabulary, vocab_multiple=256, layers=1)
    padded = LanguageModel(Decoder(config), vocabulary)
    assert config.padded_vocab_size > config.vocab_size
    ids = vocabulary.encode("dog")
    logits = padded.model(np.array([[vocabulary.eos_id, *ids]]))[0, :-1, : config.vocab_size]
    expected = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(ids)), ids]
    np.testing.assert_allclose(padded.logprobs("dog")[0], expected, atol=2e-5)


# Folders


def test_a_hugging_face_folder_loads_with_its_vocabulary(model, hf_directory):
    loaded = LanguageModel.load(hf_directory)
    assert loaded.vocabulary == model.vocabulary
    assert loaded.config.identity() == model.config.identity() | {
        "initializer_std": loaded.config.initializer_std
    }
    assert loaded.generate(TEXTS, max_new_tokens=8) == model.generate(TEXTS, max_new_tokens=8)


def test_dtype_is_that_of_parameters_and_computation(hf_directory):
    loaded = LanguageModel.load(hf_directory, dtype="bfloat16")
    assert loaded.config.dtype == "bfloat16"
    assert loaded.model.blocks.mlp.up.kernel[...].dtype == "bfloat16"
    assert len(loaded.generate("The", max_new_tokens=4)) == 1


def test_weights_are_plain_attributes(model):
    assert model.model.blocks.mlp.up.kernel[...].shape == (2, 32, 64)


@pytest.fixture
def run_directory(model, tmp_path) -> Path:
    """What a training run leaves: run.json and a checkpoint at step 3."""
    import dataclasses

    from llmjp_jax.checkpoints import Checkpoints

    directory = tmp_path / "run"
    checkpoints = Checkpoints(directory)
    checkpoints.save(3, disassemble(model.model), {"count": np.zeros(())})
    checkpoints.close()
    run = {"model": dataclasses.asdict(model.config), "vocabulary": model.vocabulary.path}
    (directory / "run.json").write_text(json.dumps(run))
    return directory


def test_a_run_folder_loads_with_the_vocabulary_that_it_names_or_holds(model, run_directory):
    expected = model.generate(TEXTS[0], max_new_tokens=8)
    assert LanguageModel.load(run_directory).generate(TEXTS[0], max_new_tokens=8) == expected
    (run_directory / "tokenizer.model").write_bytes(Path(model.vocabulary.path).read_bytes())
    run = json.loads((run_directory / "run.json").read_text())
    (run_directory / "run.json").write_text(
        json.dumps(run | {"vocabulary": "/gone/tokenizer.model"})
    )
    assert LanguageModel.load(run_directory, step=3).vocabulary == model.vocabulary
    (run_directory / "tokenizer.model").unlink()
    with pytest.raises(UserError, match="has no tokenizer.model, and .*/gone/tokenizer.model.*"):
        LanguageModel.load(run_directory)


def test_what_is_no_model_folder_is_one_sentence(tmp_path, hf_directory, vocabulary):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        LanguageModel.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither run.json .* nor config.json"):
        LanguageModel.load(tmp_path)
    (tmp_path / "config.json").write_text((hf_directory / "config.json").read_text())
    with pytest.raises(UserError, match="no tokenizer.json and no .model file"):
        LanguageModel.load(tmp_path)
    with pytest.raises(UserError, match="has no step 3"):
        LanguageModel.load(hf_directory, step=3)
    with pytest.raises(UserError, match="dtype = 'int8' must be"):
        LanguageModel.load(hf_directory, dtype="int8")
    with pytest.raises(UserError, match="ids and the model only 400"):
        LanguageModel(Decoder(make_config(vocabulary, vocab_size=400)), vocabulary)


def test_a_prompt_or_text_too_long_is_one_sentence(model):
    with pytest.raises(UserError, match="prompt 2 of 2 has .* tokens"):
        model.generate(["a", "dog " * 100], max_new_tokens=8)
    with pytest.raises(UserError, match="text 1 of 1 has .* tokens"):
        model.logprobs("dog " * 100)


def test_it_works_without_tensorflow_and_torch(hf_directory):
    code = (
        "import sys; sys.modules.update(tensorflow=None, seqio=None, torch=None, transformers=None)\n"
        "from llmjp_jax import LanguageModel\n"
        f"model = LanguageModel.load({str(hf_directory)!r})\n"
        "print(len(model.generate('The', max_new_tokens=2)), len(model.logprobs('The')))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.stdout == "1 1\n", result.stderr
