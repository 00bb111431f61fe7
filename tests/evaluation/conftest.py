"""A small data folder of two tasks, and a small model that answers them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.evaluation.task_files import Sample, TaskFile, evaluation_path, read_task_file

INSTRUCTION = "文を読み、続きを書いてください。"
WORDS = "私は 彼は 今日は 学校へ 本を 水を 行く 読む 飲む 見た".split()


def sample(number: int) -> Sample:
    return Sample(f"文：{WORDS[number % 10]}{WORDS[number * 3 % 10]}", WORDS[number * 7 % 10])


@pytest.fixture
def data_dir(tmp_path) -> Path:
    """`jnli` (exact_match) and `toy` (char_f1, chrf), 8 train, 5 dev and 7 test samples each."""
    for name, metrics in (("jnli", ("exact_match",)), ("toy", ("char_f1", "chrf"))):
        for first, (split, count) in enumerate({"train": 8, "dev": 5, "test": 7}.items()):
            file = TaskFile(INSTRUCTION, 6, metrics, tuple(sample(first + i) for i in range(count)))
            path = evaluation_path(tmp_path / "data", split, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.bytes())
    return tmp_path / "data"


def make_some_right(data_dir: Path, out: Path, split: str = "dev") -> None:
    """Every second gold answer becomes what the model answered in an evaluation."""
    for result in (out / "tasks").glob("*.json"):
        items = json.loads(result.read_text())["items"]
        path = evaluation_path(data_dir, split, result.stem)
        file = read_task_file(path)
        samples = [
            Sample(sample.input, item["prediction"] if number % 2 == 0 else sample.output)
            for number, (sample, item) in enumerate(zip(file.samples, items, strict=True))
        ]
        assert all(sample.output for sample in samples), "the model answers nothing"
        path.write_bytes(dataclasses.replace(file, samples=tuple(samples)).bytes())


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory, tiny_vocabulary) -> Path:
    """A Hugging Face directory of a Llama with random weights, whose sequences have up to 512 tokens."""
    from llmjp_jax.checkpoints import save_hf
    from llmjp_jax.models import Decoder, ModelConfig
    from llmjp_jax.tokenizer import load_vocabulary

    vocabulary = load_vocabulary(tiny_vocabulary)
    config = ModelConfig(vocab_size=vocabulary.vocab_size, layers=2, embed=32, heads=4, kv_heads=2, mlp=64,
                         max_length=512, position="rope", norm="rmsnorm", activation="swiglu", bias=False,
                         tied_embeddings=False, initializer_std=0.3)  # fmt: skip
    decoder = Decoder(config)
    # Special tokens and single bytes are never the likeliest: how they read differs from program to program.
    plain = [i for i, piece in enumerate(vocabulary.pieces) if not piece.startswith("<")]
    silent = np.setdiff1d(np.arange(vocabulary.vocab_size), plain)
    decoder.head.kernel[...] = decoder.head.kernel[...].at[:, silent].set(0.0)
    folder = tmp_path_factory.mktemp("model") / "hf"
    save_hf(decoder, config, folder, vocabulary=vocabulary)
    return folder
