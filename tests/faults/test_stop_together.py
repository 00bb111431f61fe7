"""A signal to one of several processes stops all of them after the same step, with one checkpoint to go on from."""

import os
import signal
import time

import pytest

from llmjp_jax.checkpoints import saved_steps
from llmjp_jax.training import read_metrics
from tests.faults.test_processes import free_port

SETTINGS = [
    "--gin.OptimizerConfig.decay_steps=5000",
    "--gin.checkpoints.CheckpointConfig.period=1000",
]


def losses(model_dir) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in read_metrics(model_dir / "metrics.jsonl") if "loss" in r}


@pytest.fixture
def together(command, launch):
    """Starts a run of two processes."""

    def start(model_dir, steps: int):
        flags = [f"--gin.TRAIN_STEPS={steps}", *SETTINGS, "--process_count=2"]
        flags += [f"--coordinator_address=127.0.0.1:{free_port()}"]
        return [launch(command(model_dir, *flags, f"--process_index={i}")) for i in range(2)]

    return start


def reached(model_dir, step: int, processes) -> None:
    end = time.monotonic() + 300
    while not (model_dir / "metrics.jsonl").exists() or max(losses(model_dir), default=0) < step:
        assert time.monotonic() < end and processes[0].poll() is None, ended(processes, 0)
        time.sleep(0.01)


def ended(processes, code: int) -> list[str]:
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * 2, said
    return said


@pytest.mark.slow
def test_a_signal_to_one_stops_both_with_a_checkpoint_and_not_a_bit_is_lost(together, tmp_path):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    steps = [0]
    for number, index in ((signal.SIGTERM, 1), (signal.SIGINT, 0)):
        processes = together(stopped, 100_000)
        reached(stopped, steps[-1] + 3, processes)
        os.kill(processes[index].pid, number)
        said = ended(processes, 1)
        steps.append(max(losses(stopped)))
        sentence = (
            f"stopped by {number.name}; run the same command again to go on from step {steps[-1]}\n"
        )
        assert all(line.endswith(sentence) and "Traceback" not in line for line in said), said
        assert saved_steps(stopped) == steps[1:]
    ended(together(whole, steps[-1]), 0)
    assert losses(stopped) == losses(whole)
    assert list(losses(stopped)) == list(range(1, steps[-1] + 1))
