"""kill -9 of a DPO run through LoRA, at a random moment: references, adapters and losses are those of a run left alone."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from flax import nnx

from llmjp_jax.checkpoints import save_hf
from llmjp_jax.models import Decoder
from llmjp_jax.tokenizer import load_vocabulary
from tests.conftest import tiny_documents
from tests.faults.test_kill import losses, reached
from tests.posttraining.conftest import model_of, write_lines

GIN = """
from __gin__ import dynamic_registration
from llmjp_jax import checkpoints
from llmjp_jax import models
from llmjp_jax import posttraining
from llmjp_jax import training
include 'gin_configs/runs/dpo_lora.gin'
include 'gin_configs/models/tiny.gin'
include 'gin_configs/hardware/cpu.gin'
BATCH_SIZE = 4
SEQUENCE_LENGTH = 128
TEMPLATE = 'v1.0'
EPOCHS = 4
LORA_TARGETS = ('query', 'value')
training.EvaluationConfig.period = 10
checkpoints.CheckpointConfig.period = 5
training.OptimizerConfig.learning_rate = 1e-3
"""


@pytest.fixture
def start(tmp_path, tiny_vocabulary, launch):
    """Starts the run of a MODEL_DIR."""
    fields = {name: value for name, value in vars(model_of("llama")).items() if name != "lora"}
    base = type(model_of("llama"))(**fields | {"tied_embeddings": True})
    save_hf(Decoder(base, nnx.Rngs(5)), base, tmp_path / "base", load_vocabulary(tiny_vocabulary))
    texts = iter(tiny_documents("tiny_ja", 300))
    pairs = [{"instruction": next(texts), "chosen": next(texts), "rejected": next(texts)} for _ in range(60)]  # fmt: skip
    train, held_out = (
        write_lines(tmp_path / f"{name}.jsonl", part)
        for name, part in (("train", pairs[:40]), ("held_out", pairs[40:]))
    )
    (tmp_path / "dpo.gin").write_text(GIN)
    sizes = {
        name: getattr(base, name)
        for name in (
            "vocab_size",
            "layers",
            "embed",
            "heads",
            "kv_heads",
            "mlp",
            "max_length",
            "unroll",
        )
    }

    def begin(model_dir: Path):
        macros = {
            "MODEL_DIR": model_dir, "INITIAL_CHECKPOINT_PATH": tmp_path / "base", "TRAIN_FILE": train,
            "VALIDATION_FILE": held_out, "CACHE_DIR": tmp_path / "cache",
            **{f"models.ModelConfig.{name}": value for name, value in sizes.items()},
        }  # fmt: skip
        flags = [f"--gin.{name}={value}" for name, value in macros.items()]
        gin = f"--gin_file={tmp_path / 'dpo.gin'}"
        return launch([sys.executable, "-m", "llmjp_jax.train", gin, *flags])

    return begin


@pytest.mark.slow
def test_a_killed_dpo_run_has_the_losses_of_one_that_was_not(start, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(whole)
    assert process.wait() == 0, process.communicate()[1]
    last = max(losses(whole))
    seed = int.from_bytes(os.urandom(4))
    choice = random.Random(seed)
    for low, high in ((0, 1), (1, last // 2), (last // 2, last - 2)):
        process = start(killed)
        if high > 1:
            reached(killed, choice.randrange(low, high), process)
        else:  # while the references are computed, or before
            while not (killed / "run.json").exists() and process.poll() is None:
                time.sleep(0.002)
        time.sleep(choice.random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = start(killed)
    assert process.wait() == 0, process.communicate()[1]
    assert losses(killed) == losses(whole), f"seed {seed}"
    ends = [
        json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in (whole, killed)
    ]
    assert ends[0] == ends[1] and "validation" in ends[0], f"seed {seed}"
