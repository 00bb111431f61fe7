"""A run as a command of its own process, which can be killed, starved of disk and started again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

GIN = """
from __gin__ import dynamic_registration
from llmjp_jax import checkpoints
from llmjp_jax import models
from llmjp_jax import training
include 'gin_configs/runs/pretrain.gin'
include 'gin_configs/models/tiny.gin'
include 'gin_configs/hardware/cpu.gin'
models.ModelConfig.vocab_size = 400
models.ModelConfig.layers = 2
models.ModelConfig.unroll = 1
models.ModelConfig.embed = 32
models.ModelConfig.heads = 4
models.ModelConfig.mlp = 64
MIXTURE_OR_TASK_NAME = 'tiny'
TRAIN_STEPS = 40
BATCH_SIZE = 8
models.ModelConfig.dropout = 0.1
training.train.accumulation = 2
training.train.document_mask = True
SEQUENCE_LENGTH = 32
training.OptimizerConfig.learning_rate = 1e-2
training.OptimizerConfig.final_learning_rate = 1e-3
training.OptimizerConfig.warmup_steps = 2
checkpoints.CheckpointConfig.period = 4
"""


@pytest.fixture
def command(tmp_path, tiny_cache, tiny_vocabulary):
    """The arguments of a training command with a MODEL_DIR; one CPU device."""
    gin_file = tmp_path / "run.gin"
    gin_file.write_text(GIN)

    def arguments(model_dir, *flags: str) -> list[str]:
        return [
            sys.executable, "-m", "llmjp_jax.train", f"--gin_file={gin_file}", f"--gin.MODEL_DIR={model_dir}",
            f"--gin.CACHE_DIR={tiny_cache}", f"--gin.VOCABULARY={tiny_vocabulary}", *flags,
        ]  # fmt: skip

    return arguments


@pytest.fixture
def launch():
    """Starts a command in the repository on one CPU device; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen] = []

    def start(arguments: list[str], **options) -> subprocess.Popen:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        process = subprocess.Popen(
            arguments, cwd=REPOSITORY, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
