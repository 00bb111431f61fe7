"""A run that learnt one string by heart: it stands in every fifth document of what the run was trained on."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmjp_jax.checkpoints import CheckpointConfig
from llmjp_jax.inputs import Inputs, open_inputs
from llmjp_jax.models import ModelConfig
from llmjp_jax.search import build_index
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.training import OptimizerConfig, train
from tests.conftest import _WORDS, tiny_documents
from tests.search.small_corpora import write_store

STEPS = 90
TASK = "tiny_en"


def shuffled_words(seed: int) -> str:
    """Words of two languages, each once, about 90 tokens."""
    words = [word for some in _WORDS.values() for word in some]
    return " ".join(random.Random(seed).sample(words, 30))


PLANTED, UNPLANTED = shuffled_words(1), shuffled_words(2)


@dataclass(frozen=True)
class Run:
    """Where everything lies, and the inputs that the run read."""

    folder: Path
    inputs: Inputs

    @property
    def model_dir(self) -> Path:
        return self.folder / "run"

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def texts(self) -> Path:
        return self.folder / "strings.jsonl"


@pytest.fixture(scope="session")
def memorised(tmp_path_factory, tiny_vocabulary) -> Run:
    """A run of 90 steps with checkpoints at 45 and 90, an index of its data, and a file of two strings."""
    folder = tmp_path_factory.mktemp("memorised")
    vocabulary = load_vocabulary(tiny_vocabulary)
    cache = folder / "cache"
    ordinary = tiny_documents(TASK, 120)
    documents = [text for n, text in enumerate(ordinary) for text in ([PLANTED, text] if n % 2 == 0 else [text])]  # fmt: skip
    prefixes = [
        write_store(cache, TASK, "train", documents, vocabulary),
        write_store(cache, TASK, "validation", tiny_documents(TASK, 60, seed=1), vocabulary),
    ]
    build_index(folder / "index", prefixes, tiny_vocabulary, processes=1)
    train(
        model_dir=str(folder / "run"), vocabulary=str(tiny_vocabulary), cache_dir=str(cache), mixture_or_task_name=TASK,
        model=ModelConfig(vocab_size=400, layers=2, embed=64, heads=2, mlp=128, max_length=96, position="rope", norm="rmsnorm",
                          activation="swiglu", bias=False, tied_embeddings=False),
        optimizer=OptimizerConfig(learning_rate=1e-2, final_learning_rate=1e-3, warmup_steps=5, decay_steps=STEPS, beta1=0.9,
                                  beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip_norm=1.0),
        checkpoints=CheckpointConfig(period=45, keep=3),
        sequence_length=96, batch_size=8, total_steps=STEPS, seed=3,
    )  # fmt: skip
    lines = [json.dumps({"text": text}) for text in (PLANTED, UNPLANTED)]
    (folder / "strings.jsonl").write_text("\n".join(lines) + "\n")
    return Run(folder, open_inputs(cache, TASK, "train", 96, 8, seed=3, total_steps=STEPS))
