"""kill -9 at any moment costs the time since the last checkpoint, and not one bit of the losses."""

import json
import os
import random
import signal
import time

import pytest

from llmjp_jax.training import read_metrics


def losses(model_dir) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in read_metrics(model_dir / "metrics.jsonl") if "loss" in r}


def reached(model_dir, step: int, process, seconds: float = 300) -> None:
    """Waits until the run has written the metrics of a step."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if (model_dir / "metrics.jsonl").exists() and max(losses(model_dir), default=0) >= step:
            return
        time.sleep(0.002)
    pytest.fail(f"step {step} was not reached: {process.communicate()[1]}")


@pytest.mark.slow
def test_a_run_killed_twice_at_random_steps_has_the_losses_of_one_that_was_not(
    command, launch, tmp_path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = launch(command(whole))
    assert process.wait() == 0, process.communicate()[1]
    seed = int.from_bytes(os.urandom(4))
    choice = random.Random(seed)
    for low, high in ((1, 18), (20, 36)):
        process = launch(command(killed))
        reached(killed, choice.randrange(low, high), process)
        time.sleep(choice.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    process = launch(command(killed))
    assert process.wait() == 0, process.communicate()[1]
    assert losses(killed) == losses(whole), f"seed {seed}"
    assert list(losses(killed)) == list(range(1, 41)), f"seed {seed}"
    last = [
        json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in (whole, killed)
    ]
    assert last[0] == last[1] and "validation" in last[0]
    assert not list((killed / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
def test_sigterm_saves_the_step_it_stops_at_and_says_how_to_go_on(command, launch, tmp_path):
    process = launch(command(tmp_path / "run", "--gin.TRAIN_STEPS=100000"))
    reached(tmp_path / "run", 5, process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1 and "stopped by SIGTERM; run the same command again" in stderr
    stopped = max(losses(tmp_path / "run"))
    assert (tmp_path / "run" / "checkpoints" / str(stopped)).is_dir()
    assert "Traceback" not in stderr
