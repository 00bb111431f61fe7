"""tools/convert_checkpoint.py with adapters: merged into Hugging Face directories and runs, exported to PEFT, and back."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import (
    CheckpointConfig,
    Checkpoints,
    load_hf,
    load_model,
    load_peft,
    load_run,
    merged,
    read_run,
    save_hf,
    save_run,
)
from llmjp_jax.conversations import get_template
from llmjp_jax.models import Decoder, LoraConfig, ModelConfig, adapters_of, disassemble
from llmjp_jax.tokenizer import load_vocabulary, read_chat_template, save_tokenizer

TOOL = Path(__file__).resolve().parents[2] / "tools" / "convert_checkpoint.py"
LORA = LoraConfig(rank=2, alpha=4, targets=("query", "value", "down"))


@pytest.fixture(scope="module")
def convert():
    spec = importlib.util.spec_from_file_location("convert_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture
def run(shared_data, tmp_path):
    """A run of adapters over tmp_path/base, tuned with the template v1.1; the first of its two checkpoints is the best."""
    vocabulary = load_vocabulary(shared_data / "tokenizers" / "code10k_en20k_ja30k.ver2.1.model")
    model = ModelConfig(
        vocab_size=vocabulary.vocab_size, layers=2, embed=16, heads=2, mlp=24, max_length=32, position="rope",
        norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
    )  # fmt: skip
    save_hf(Decoder(model), model, tmp_path / "base", vocabulary)
    adapted = dataclasses.replace(model, lora=LORA)
    checkpoints = Checkpoints(tmp_path / "run", CheckpointConfig(keep_best=True))
    for step, loss in ((1, 0.5), (2, 0.7)):
        adapters = jax.tree.map(
            lambda leaf, step=step: 0.1 * jax.random.normal(jax.random.key(step), leaf.shape),
            adapters_of(disassemble(Decoder(adapted))),
        )
        checkpoints.save(step, adapters, {"count": np.zeros(())}, validation_loss=loss)
    checkpoints.close()
    base = {"path": str(tmp_path / "base"), "step": None}
    record = {"model": dataclasses.asdict(adapted), "base": base, "template": "v1.1"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    save_tokenizer(vocabulary, tmp_path / "run")
    return tmp_path / "run"


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, disassemble(first), disassemble(second))


def test_a_run_of_adapters_goes_to_hugging_face_and_to_a_run_merged_and_says_so(
    run, tmp_path, convert, capsys
):
    expected = merged(*load_run(run, "best"))[1]
    convert("--from_run", run, "--step=best", "--to_hf", tmp_path / "hf")
    assert "merged the adapters LoraConfig(rank=2" in capsys.readouterr().out
    same(load_hf(tmp_path / "hf")[1], expected)
    assert read_chat_template(tmp_path / "hf") == get_template("v1.1").chat_template
    convert("--from_run", run, "--step=1", "--to_run", tmp_path / "whole")
    config, decoder = load_run(tmp_path / "whole")
    assert config.lora is None and read_run(tmp_path / "whole")["template"] == "v1.1"
    same(decoder, expected)
    convert("--from_run", run, "--to_hf", tmp_path / "half", "--dtype=bfloat16")
    newest = jax.tree.map(lambda a: a.astype("bfloat16"), disassemble(merged(*load_run(run))[1]))
    jax.tree.map(np.testing.assert_array_equal, disassemble(load_hf(tmp_path / "half")[1]), newest)


def test_a_run_of_adapters_goes_to_peft_and_from_there_to_hugging_face_and_to_a_run(
    run, tmp_path, convert, capsys
):
    convert("--from_run", run, "--to_peft", tmp_path / "adapter")
    assert "the adapters LoraConfig" in capsys.readouterr().out
    config, decoder = load_peft(tmp_path / "adapter")
    assert config.lora == LORA
    same(decoder, load_run(run)[1])
    expected = merged(*load_run(run))[1]
    convert("--from_peft", tmp_path / "adapter", "--to_hf", tmp_path / "hf")
    same(load_hf(tmp_path / "hf")[1], expected)
    assert load_vocabulary(tmp_path / "hf").vocab_size == config.vocab_size
    (tmp_path / "base").rename(tmp_path / "moved")
    convert("--from_peft", tmp_path / "adapter", "--base", tmp_path / "moved", "--to_run", tmp_path / "whole")  # fmt: skip
    same(load_model(tmp_path / "whole")[1], expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from_peft", "base", "--to_hf", "out"], "--from_peft=base has no adapter_config.json"),
        (["--from_hf", "base", "--base", "base", "--to_hf", "out"], "--base is the model under"),
        (["--from_hf", "base", "--to_peft", "out"], "holds a whole model and no adapters"),
        (["--from_run", "run", "--to_peft", "out", "--dtype", "float16"], "--to_peft writes adapters as they are"),
        (["--from_run", "run", "--base", "absent", "--to_hf", "out"], "absent is not a folder"),
        (["--from_run", "run", "--base", "as_run", "--to_peft", "out"], "--from_run=as_run --to_hf=DIR"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_exit_2(
    arguments, words, run, tmp_path, convert, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config, decoder = load_hf(tmp_path / "base")
    save_run(decoder, config, tmp_path / "as_run")
    with pytest.raises(SystemExit) as stopped:
        convert(*arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
