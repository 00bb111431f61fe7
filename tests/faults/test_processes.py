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
@pytest.mark.timeout(600)
def test_eight_devices_give_the_same_losses_in_one_two_or_four_processes(command, tmp_path):
    """Sequences, matrices and parameters are split, each over devices of several processes."""
    options = [f"--gin.parallel.MeshConfig.{axis}=2" for axis in ("fsdp", "context", "tensor")]
    options += ["--gin.OptimizerConfig.decay_steps=6", "--gin.checkpoints.CheckpointConfig.period=3"]  # fmt: skip

    def run(model_dir, steps: int, processes: int):
        arguments = command(tmp_path / model_dir, f"--gin.TRAIN_STEPS={steps}", *options)
        run_together(arguments, processes, devices=8 // processes)

    run("one", 6, processes=1)
    # Begun by two processes of four devices each, ended by four of two.
    run("several", 3, processes=2)
    run("several", 6, processes=4)
    np.testing.assert_allclose(losses(tmp_path / "several"), losses(tmp_path / "one"), atol=1e-5)
    assert len(losses(tmp_path / "one")) == 6
    assert saved_steps(tmp_path / "several") == [3, 6]
