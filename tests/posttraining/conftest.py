"""The smallest things to tune: a base model in a Hugging Face directory, and files of examples and of pairs."""

import json
import random

import pytest
from flax import nnx

from llmjp_jax.checkpoints import CheckpointConfig, save_hf
from llmjp_jax.inputs import ExamplesConfig
from llmjp_jax.models import Decoder, LoraConfig, ModelConfig
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.training import OptimizerConfig
from tests.conftest import tiny_documents
from tests.training.conftest import ADAM, FAMILIES

LENGTH = 128
TARGETS = {
    "llama": ("query", "key", "value", "output", "gate", "up", "down"),
    "gpt2": ("query_key_value", "output", "up", "down"),
}


def model_of(family: str, lora: bool = False, **changes) -> ModelConfig:
    """The smallest model of a family, with adapters or without."""
    adapters = LoraConfig(rank=4, alpha=8.0, targets=TARGETS[family]) if lora else None
    return ModelConfig(**FAMILIES[family] | {"max_length": 2 * LENGTH, "lora": adapters} | changes)


def write_lines(path, records) -> str:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return str(path)


@pytest.fixture(scope="session")
def bases(tmp_path_factory, tiny_vocabulary) -> dict[str, str]:
    """A Hugging Face directory of each family, with random weights and the tiny vocabulary."""
    folder, vocabulary = tmp_path_factory.mktemp("bases"), load_vocabulary(tiny_vocabulary)
    for family in FAMILIES:
        config = model_of(family)
        save_hf(Decoder(config, nnx.Rngs(5)), config, folder / family, vocabulary)
    return {family: str(folder / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, str]:
    """JSON lines: `examples` and `pairs` for training, `held_out` and `held_out_pairs` for validation."""
    folder, draw = tmp_path_factory.mktemp("files"), random.Random(0)
    texts = iter(tiny_documents("tiny_ja", 400))
    found = {}
    for name, count in (("examples", 60), ("held_out", 12)):
        records = [{"instruction": next(texts), "output": next(texts)} for _ in range(count)]
        found[name] = write_lines(folder / f"{name}.jsonl", records)
    words = tiny_documents("tiny_en", 100)
    for name, count in (("pairs", 40), ("held_out_pairs", 8)):
        records = [
            {"instruction": next(texts), "chosen": draw.choice(words), "rejected": next(texts)}
            for _ in range(count)
        ]
        found[name] = write_lines(folder / f"{name}.jsonl", records)
    return found


@pytest.fixture
def tuning_arguments(tmp_path, bases, files, tiny_vocabulary):
    """Keyword arguments of `train` for six steps of SFT of the Llama in a fresh MODEL_DIR."""
    return dict(
        model_dir=str(tmp_path / "run"), model=model_of("llama"), vocabulary=str(tiny_vocabulary),
        optimizer=OptimizerConfig(learning_rate=1e-2, final_learning_rate=0.0, warmup_fraction=0.1, **ADAM),
        cache_dir=str(tmp_path / "cache"), sequence_length=LENGTH, batch_size=8, total_steps=6, seed=3,
        initial_checkpoint_path=bases["llama"], checkpoints=CheckpointConfig(period=2, keep=None),
        examples=ExamplesConfig(
            train_files=files["examples"], validation_files=files["held_out"], template="v1.0"),
    )  # fmt: skip
