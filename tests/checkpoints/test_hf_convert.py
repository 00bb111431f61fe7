"""tools/convert_checkpoint.py, and the tokenizer and special ids that travel with a model."""

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import load_hf, load_run, save_hf
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, disassemble
from llmjp_jax.tokenizer import load_vocabulary

TOOL = Path(__file__).resolve().parents[2] / "tools" / "convert_checkpoint.py"
SHAPE = {"layers": 2, "embed": 16, "heads": 2, "mlp": 24, "max_length": 32, "position": "rope", "norm": "rmsnorm",
         "activation": "swiglu", "bias": False, "tied_embeddings": False}  # fmt: skip


@pytest.fixture(scope="module")
def convert():
    spec = importlib.util.spec_from_file_location("convert_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def vocabulary(shared_data):
    return load_vocabulary(shared_data / "tokenizers" / "code10k_en20k_ja30k.ver2.1.model")


@pytest.fixture
def exported(vocabulary, tmp_path):
    """A model with LLM-jp's vocabulary as a Hugging Face directory."""
    config = ModelConfig(vocab_size=vocabulary.vocab_size, vocab_multiple=128, **SHAPE)
    save_hf(Decoder(config), config, tmp_path / "hf", vocabulary)
    return tmp_path / "hf"


def same_parameters(first, second):
    for a, b in zip(
        *(jax.tree.leaves(disassemble(decoder)) for decoder in (first, second)), strict=True
    ):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_the_export_brings_llmjps_special_ids_and_tokenizer(exported, vocabulary):
    ids = {"bos_token_id": 1, "eos_token_id": 7, "pad_token_id": 4}
    for name in ("config.json", "generation_config.json"):
        values = json.loads((exported / name).read_text())
        assert {key: values[key] for key in ids} == ids
    again = load_vocabulary(exported)
    assert again.fingerprint == vocabulary.fingerprint
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    text = "自然言語処理とは何か\nHello World!"
    assert tokenizer(text, add_special_tokens=False).input_ids == vocabulary.encode(text)
    assert tokenizer.model_max_length == SHAPE["max_length"]
    model = transformers.AutoModelForCausalLM.from_pretrained(exported)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (7, 4)


def test_a_vocabulary_larger_than_the_model_is_refused(vocabulary, tmp_path):
    config = ModelConfig(vocab_size=300, **SHAPE)
    with pytest.raises(UserError, match="50570 ids, the model 300;"):
        save_hf(Decoder(config), config, tmp_path / "hf", vocabulary)
    assert not (tmp_path / "hf").exists()


def test_hugging_face_to_run_and_back_keeps_bytes_and_tokenizer(
    exported, vocabulary, tmp_path, convert, capsys
):
    convert("--from_hf", exported, "--to_run", tmp_path / "run")
    config, decoder = load_run(tmp_path / "run")
    same_parameters(decoder, load_hf(exported)[1])
    assert load_vocabulary(tmp_path / "run").fingerprint == vocabulary.fingerprint
    convert("--from_run", tmp_path / "run", "--to_hf", tmp_path / "back", "--max_shard_gb", 1e-3)
    same_parameters(load_hf(tmp_path / "back")[1], decoder)
    assert len(list((tmp_path / "back").glob("*.safetensors"))) > 1
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (
        exported / "tokenizer.json"
    ).read_bytes()
    assert json.loads((tmp_path / "back" / "config.json").read_text())["eos_token_id"] == 7
    assert "50,570 ids, ending at 7" in capsys.readouterr().out


def test_dtype_is_that_of_the_written_parameters(exported, tmp_path, convert):
    convert("--from_hf", exported, "--to_hf", tmp_path / "half", "--dtype", "bfloat16")
    _, decoder = load_hf(tmp_path / "half")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(disassemble(decoder))} == {"bfloat16"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from_hf", "absent", "--to_hf", "out"], "config.json"),
        (["--from_run", "absent", "--to_hf", "out"], "run.json"),
        (["--from_hf", "hf", "--to_hf", "out", "--step", "3"], "--step"),
        (["--from_hf", "hf", "--to_hf", "out", "--vocabulary", "absent.model"], "absent.model"),
        (["--from_hf", "hf", "--to_run", "full"], "full is not empty"),
        (["--from_hf", "hf", "--to_hf", "full"], "not an earlier export"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    arguments, words, exported, tmp_path, convert, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(SystemExit) as stopped:
        convert(*arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"hf", "full"}
