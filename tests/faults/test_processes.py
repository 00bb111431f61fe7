"""Several real processes train one model: the same losses, and one of them writes."""

import os
import socket
import subprocess

import numpy as np
import pytest

from llmjp_jax.checkpoints import saved_steps
from llmjp_jax.training import read_metrics


def losses(model_dir) -> list[float]:
    return [r["loss"] for r in read_metrics(model_dir / "metrics.jsonl") if "loss" in r]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_together(arguments: list[str], processes: int, devices: int) -> None:
    """Runs a command in several processes of some devices each, and waits for all."""
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }  # fmt: skip
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    running = [
        subprocess.Popen(
            [*arguments, address, f"--process_count={processes}", f"--process_index={index}"],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for index in range(processes)
    ]  # fmt: skip
    try:
        for process in running:
            _, stderr = process.communicate(timeout=400)
            assert process.returncode == 0, stderr
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_go_on_from_its_checkpoint(command, tmp_path):
    steps = ["--gin.OptimizerConfig.decay_steps=12", "--gin.checkpoints.CheckpointConfig.period=4"]
    run_together(command(tmp_path / "one", "--gin.TRAIN_STEPS=12", *steps), processes=1, devices=1)
    mesh = ["--gin.parallel.MeshConfig.fsdp=2", "--gin.parallel.MeshConfig.tensor=1"]
    # Begun by one process, ended by two with two devices each.
    run_together(command(tmp_path / "two", "--gin.TRAIN_STEPS=4", *steps), processes=1, devices=1)
    run_together(
        command(tmp_path / "two", "--gin.TRAIN_STEPS=12", *steps, *mesh), processes=2, devices=2
    )
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), atol=1e-5)
    assert saved_steps(tmp_path / "two") == [4, 8, 12]
