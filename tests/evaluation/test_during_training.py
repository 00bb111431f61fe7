"""Tasks asked while a model is trained: scores in the stream of the losses, the same as a later evaluation's."""

import json
import sys

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation import DuringTraining, evaluate
from llmjp_jax.models import ModelConfig
from llmjp_jax.parallel import MeshConfig
from llmjp_jax.training import EvaluationConfig, OptimizerConfig, train
from tests.evaluation.conftest import make_some_right
from tests.faults.test_processes import run_together

MODEL = dict(vocab_size=400, layers=2, embed=32, heads=4, kv_heads=2, mlp=64, max_length=512, position="rope",
             norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False)  # fmt: skip
OPTIMIZER = dict(learning_rate=1e-2, final_learning_rate=1e-3, warmup_steps=1, decay_steps=4, beta1=0.9, beta2=0.95,
                 epsilon=1e-8, weight_decay=0.1, clip_norm=1.0)  # fmt: skip


@pytest.fixture
def run(tmp_path, tiny_cache, tiny_vocabulary, data_dir):
    def start(name="run", steps=4, mesh=None, **tasks):
        asked = DuringTraining(**{"data_dir": str(data_dir), "tasks": ("jnli", "toy"), "shots": 1, "period": 2, **tasks})  # fmt: skip
        train(model_dir=str(tmp_path / name), model=ModelConfig(**MODEL), optimizer=OptimizerConfig(**OPTIMIZER),
              vocabulary=str(tiny_vocabulary), cache_dir=str(tiny_cache), mixture_or_task_name="tiny", sequence_length=32,
              batch_size=8, total_steps=steps, mesh=mesh, evaluation=EvaluationConfig(batches=1, tasks=asked))  # fmt: skip
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if "tasks" in record]

    return start


def test_scores_stand_in_the_metrics_at_the_chosen_steps_and_the_last(run, tmp_path, data_dir):
    records = run("first")
    assert [record["step"] for record in records] == [2, 4]
    assert set(records[0]["tasks"]) == {"jnli_exact_match", "toy_char_f1", "toy_chrf", "NLI", "AVG"}  # fmt: skip
    given = dict(data_dir=str(data_dir), tasks=("jnli", "toy"), shots=1)
    evaluate(**given, model_dir=str(tmp_path / "first"), output_dir=str(tmp_path / "out"))
    make_some_right(data_dir, tmp_path / "out")
    mesh = MeshConfig(data=2, fsdp=2, tensor=2)
    again = run("again", mesh=mesh)
    later = evaluate(**given, model_dir=str(tmp_path / "again"), output_dir=str(tmp_path / "later"))
    assert again[1]["tasks"]["jnli_exact_match"] >= 0.6
    for name, task in later["tasks"].items():
        for metric, found in task["metrics"].items():
            assert again[1]["tasks"][f"{name}_{metric}"] == pytest.approx(found["value"], abs=1e-9)
    assert run("again", mesh=mesh) == again, "a run that is done asked once more"


GIN = """
from __gin__ import dynamic_registration
from llmjp_jax import evaluation
from llmjp_jax import models
from llmjp_jax import parallel
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
models.ModelConfig.max_length = 512
MIXTURE_OR_TASK_NAME = 'tiny'
TRAIN_STEPS = 4
BATCH_SIZE = 8
SEQUENCE_LENGTH = 32
training.OptimizerConfig.learning_rate = 1e-2
training.OptimizerConfig.final_learning_rate = 1e-3
training.OptimizerConfig.warmup_steps = 2
parallel.MeshConfig.fsdp = 2
training.EvaluationConfig.tasks = @evaluation.DuringTraining()
evaluation.DuringTraining.tasks = ('jnli', 'toy')
evaluation.DuringTraining.shots = 1
"""


@pytest.mark.slow
def test_two_processes_ask_together_and_score_as_one(tmp_path, tiny_cache, tiny_vocabulary, data_dir):  # fmt: skip
    gin_file = tmp_path / "run.gin"
    gin_file.write_text(GIN)

    def run(name, processes):
        arguments = [
            sys.executable, "-m", "llmjp_jax.train", f"--gin_file={gin_file}", f"--gin.MODEL_DIR={tmp_path / name}",
            f"--gin.CACHE_DIR={tiny_cache}", f"--gin.VOCABULARY={tiny_vocabulary}",
            f"--gin.evaluation.DuringTraining.data_dir={data_dir}",
        ]  # fmt: skip
        run_together(arguments, processes, devices=2 // processes)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [record["tasks"] for record in map(json.loads, lines) if "tasks" in record]

    run("first", 1)
    given = dict(data_dir=str(data_dir), tasks=("jnli", "toy"), shots=1)
    evaluate(**given, model_dir=str(tmp_path / "first"), output_dir=str(tmp_path / "out"))
    make_some_right(data_dir, tmp_path / "out")
    two, one = run("two", 2), run("one", 1)
    assert two == one and one[0]["jnli_exact_match"] >= 0.6


def test_a_mistake_is_found_before_the_first_step(run, tmp_path):
    with pytest.raises(UserError, match="did you mean jnli"):
        run(tasks="jnlii")
    with pytest.raises(UserError, match=r"answers of jnli may have 600 tokens"):
        run(output_length=600)
    with pytest.raises(UserError, match="period = 0 must be None"):
        run(period=0)
    assert not (tmp_path / "run").exists()
