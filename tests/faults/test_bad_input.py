"""A user's mistake is one sentence and exit 2, and leaves nothing half-written behind."""

import os
import shutil
import subprocess

import pytest


def refused(process) -> str:
    """The one sentence that a process ended with."""
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, stderr
    return lines[0]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--gin.MODEL=@models.ModelConfigs()"], ["ModelConfig"]),
        (["--gin.models.ModelConfig.embd=64"], ["embd", "embed"]),
        (["--gin.TRAIN_STEP=5"], ["TRAIN_STEP", "TRAIN_STEPS"]),
        (["--gin.models.ModelConfig.heads=3"], ["heads", "32"]),
        (["--gin.SEQUENCE_LENGTH=300"], ["sequence_length", "max_length"]),
        (["--gin.CACHE_DIR=/nowhere"], ["/nowhere", "tools/cache_tasks.py"]),
        (["--gin.VOCABULARY=/nowhere/x.model"], ["/nowhere/x.model"]),
        (["--gin.training.train.allocator=other"], ["allocator"]),
        (["--gin.TRAIN_STEPS=1k"], ["total_steps", "whole number", "--gin.TRAIN_STEPS=1k"]),
        (["--gin.BATCH_SIZE=0"], ["batch_size"]),
        (["--gin.OptimizerConfig.learning_rate=3e-3x"], ["learning_rate", "a number"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_in_the_configuration(flags, words, command, launch, tmp_path):
    sentence = refused(launch(command(tmp_path / "run", *flags)))
    assert all(word in sentence for word in words), sentence
    assert not (tmp_path / "run").exists()


def test_heads_that_the_tensor_axis_does_not_divide(command, launch, tmp_path):
    arguments = command(
        tmp_path / "run", "--gin.parallel.MeshConfig.tensor=3", "--gin.models.ModelConfig.embed=32"
    )
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        "JAX_PLATFORMS": "cpu",
    }
    found = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert "not divisible by the mesh axis tensor = 3" in found.stderr, found.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_macro_is_named_with_the_flag_that_gives_it(command, launch, tmp_path):
    arguments = [flag for flag in command(tmp_path / "run") if "MODEL_DIR" not in flag]
    assert "--gin.MODEL_DIR=" in refused(launch(arguments))


def test_a_truncated_store(command, launch, tmp_path, tiny_cache):
    cache = tmp_path / "cache"
    shutil.copytree(tiny_cache, cache)
    store = cache / "tiny_ja" / "train.bin"
    store.write_bytes(store.read_bytes()[:-100])
    sentence = refused(launch(command(tmp_path / "run", f"--gin.CACHE_DIR={cache}")))
    assert str(store) in sentence
    assert not (tmp_path / "run").exists()


def test_a_disk_too_small_for_a_checkpoint(command, launch, tmp_path):
    limited = ["sh", "-c", 'ulimit -f 117; exec "$@"', "sh", *command(tmp_path / "run")]
    sentence = refused(launch(limited))
    assert "cannot write" in sentence and str(tmp_path / "run") in sentence, sentence
    steps = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()]
    assert not steps, "no checkpoint may look whole"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB, or a skip where the test may not make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk(command, launch, small_disk):
    sentence = refused(launch(command(small_disk / "run")))
    assert "No space left" in sentence or "no space left" in sentence, sentence


def test_a_read_only_disk(command, launch, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    sentence = refused(launch(command(small_disk / "run")))
    assert "read-only" in sentence, sentence
    assert not (small_disk / "run").exists()
