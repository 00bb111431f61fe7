"""The benchmarks time the same work on both sides, and say in one sentence what they cannot."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from tools.benchmark_process import step_seconds
from tools.train_arguments import train_arguments

QUICKSTART = ["--gin_file=gin_configs/quickstart.gin"]
SMALL = [
    *QUICKSTART,
    *[
        f"--gin.models.ModelConfig.{field}"
        for field in ("vocab_size=64", "layers=2", "embed=32", "heads=2", "mlp=48", "unroll=2")
    ],
    "--gin.BATCH_SIZE=4",
    "--gin.SEQUENCE_LENGTH=16",
    "--gin.training.OptimizerConfig.warmup_steps=1",
    "--gin.training.OptimizerConfig.learning_rate=0.03",
]


def benchmark(*flags: str, command: str = "train") -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    rounds = {"compile": [], "sft": ["--rounds=1"]}.get(command, ["--rounds=1", "--steps=2"])
    command = [sys.executable, "tools/benchmark.py", command, *rounds, *flags]
    return subprocess.run(
        command, cwd=repository_root(), env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
@pytest.mark.parametrize("turns", [[], ["--one_at_a_time"]], ids=["in turns", "one at a time"])
def test_both_sides_have_the_same_losses_from_the_same_weights(tmp_path, turns):
    pytest.importorskip("transformers")
    output = tmp_path / "report.json"
    finished = benchmark(*SMALL, "--warmup=6", "--compile_mode=none", "--gin.training.train.accumulation=2",
                         f"--output={output}", *turns)  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report == json.loads(output.read_text())
    assert report["hf"]["class"] == "LlamaForCausalLM"
    losses = report["ours"]["first_losses"]
    assert abs(losses[0] - losses[-1]) > 0.01  # something was learned, so that updates are compared
    assert report["comparison"]["largest_difference_of_first_losses"] < 1e-4
    for side in ("ours", "hf"):
        assert len(report[side]["step_seconds"]["median_of_each_round"]) == 1
        assert report[side]["step_seconds"]["best"] <= report[side]["step_seconds"]["median"]
        assert report[side]["memory"]["peak_bytes"] > 1e6
        assert report[side]["mfu"]["causal"] < report[side]["mfu"]["full"]


@pytest.mark.slow
def test_tuning_in_full_and_by_lora_has_the_peer_s_losses_on_the_same_padded_batches():
    pytest.importorskip("peft")
    small = ["--gin_file=gin_configs/quickstart_sft.gin", *SMALL[1:7], "--gin.BATCH_SIZE=4", "--gin.SEQUENCE_LENGTH=32"]  # fmt: skip
    finished = benchmark(*small, "--examples=24", "--rank=2", "--threads=1", command="sft")
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    for tuning in ("full", "lora"):
        losses = report[f"ours {tuning} padded"]["first_losses"]
        assert losses == pytest.approx(report[f"hf {tuning} padded"]["first_losses"], abs=1e-4)
        assert len(losses) == report["rows"]["padded"]["steps"]
    ours, theirs = (report[f"{side} lora padded"]["trained_parameters"] for side in ("ours", "hf"))
    assert ours == theirs < report["ours full padded"]["trained_parameters"]
    packed, padded = report["rows"]["packed"], report["rows"]["padded"]
    assert packed["loss_tokens"] == padded["loss_tokens"] and packed["tokens"] == padded["tokens"]
    for rows in (packed, padded):
        assert rows["share_of_loss"] == pytest.approx(rows["loss_tokens"] / rows["slots"])
        assert rows["density"] == pytest.approx(rows["tokens"] / rows["slots"])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--gin_file=gin_configs/quickstart.gin"], "this times SFT; give gin_configs/runs/sft.gin"),
        (["--gin_file=gin_configs/quickstart_dpo.gin"], "this times SFT"),
        (["--gin_file=gin_configs/quickstart_sft.gin", "--examples=0"], "--examples=0"),
        (["--gin_file=gin_configs/quickstart_sft.gin", "--gin.training.train.accumulation=2"], "accumulation must be 1"),
    ],
)  # fmt: skip
def test_what_is_no_tuning_of_examples_is_one_sentence(flags, sentence):
    finished = benchmark(*flags, command="sft")
    assert finished.returncode == 2
    assert sentence in finished.stderr and "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--gin.training.train.z_loss=0.0001"], "z_loss"),
        (["--gin.MODELDIR=x"], "MODELDIR"),
        (["--threads=1000"], "--threads=1000"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(flags, sentence):
    finished = benchmark(*SMALL, *flags)
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert sentence in line
    assert "Traceback" not in finished.stderr


def test_the_input_benchmark_reads_the_same_stores_as_its_peer_and_begins_anywhere():
    pytest.importorskip("torch")
    finished = benchmark(
        "--tokens=200000", "--batch_size=8", "--sequence_length=64", command="inputs"
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["store_tokens"] == 200_000 and report["sources"] == 3
    for side in ("ours", "torch"):
        seconds = report[side]["batch_seconds"]["median"]
        assert report[side]["tokens_per_second"] == pytest.approx(8 * 64 / seconds)
    assert set(report["first_batch_seconds"]) == {"step 0", "step 10000000"}


def test_the_compilation_benchmark_takes_each_depth_scanned_and_unrolled():
    finished = benchmark(*SMALL, "--layers=1,2", "--threads=1", command="compile")
    assert finished.returncode == 0, finished.stderr
    results = json.loads(finished.stdout)["results"]
    assert [(case["layers"], case["unroll"]) for case in results] == [(1, 1), (2, 1), (2, 2)]
    assert all(case["compile_seconds"] > 0 and case["xla_peak_bytes"] > 0 for case in results)


@pytest.mark.parametrize(
    ("flags", "command", "sentence"),
    [
        (["--rounds=0"], "inputs", "--rounds=0"),
        (["--gin_file=x.gin"], "inputs", "--gin_file=x.gin"),
        (["--cache_dir=nowhere"], "inputs", "--mixture_or_task_name"),
        ([*SMALL, "--layers=0"], "compile", "--layers"),
    ],
)
def test_what_the_other_benchmarks_cannot_measure_is_one_sentence(flags, command, sentence):
    finished = benchmark(*flags, command=command)
    assert finished.returncode == 2
    assert sentence in finished.stderr and "Traceback" not in finished.stderr


def test_a_run_s_flags_serve_with_and_without_the_places_of_its_data():
    without = train_arguments(QUICKSTART)
    given = train_arguments([*QUICKSTART, "--gin.MODEL_DIR=runs/a", "--gin.CACHE_DIR=cache"])
    assert without["model"] == given["model"]
    assert given["cache_dir"] == "cache"
    assert without["mixture_or_task_name"] == "quickstart"  # what the files give is not replaced


@pytest.mark.parametrize("flag", ["--hosts=a,b", "--coordinator_address=auto"])
def test_flags_for_several_processes_are_refused_where_there_is_one(flag):
    with pytest.raises(UserError, match=f"{flag.partition('=')[0]}: this runs in one process"):
        train_arguments([*QUICKSTART, flag])


def test_a_step_is_timed_from_the_end_of_the_one_before_though_the_next_is_already_queued():
    durations = [0.1, 0.4, 0.2]
    lock = threading.Lock()

    def start(duration):
        def work():
            with lock:
                time.sleep(duration)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.01)  # the thread holds the lock before the next asks for it
        return thread

    queued = step_seconds(start, threading.Thread.join, durations)
    direct = step_seconds(time.sleep, None, durations)
    assert queued == pytest.approx(durations, abs=0.08)
    assert direct == pytest.approx(durations, abs=0.08)
