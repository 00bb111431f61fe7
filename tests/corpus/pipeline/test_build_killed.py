"""kill -9 at any moment of a build, then the same command: the bytes of an uninterrupted run, and no process left."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llmjp_jax.corpus.pipeline import build_corpus
from llmjp_jax.files import repository_root
from tests.corpus.pipeline.test_build import ONE, contents, web

GIN = """
from __gin__ import dynamic_registration
from llmjp_jax.corpus import pipeline
include 'gin_configs/corpus/parts/build.gin'
CORPORA = [@pipeline.Corpus()]
WORKERS = 2
KEEP_DROPPED = True
VALIDATION_FRACTION = 0.1
pipeline.build_corpus.split_bytes = 6000
pipeline.Corpus.name = 'web'
pipeline.Corpus.inputs = ['*']
pipeline.Corpus.steps = ['not_empty', ('is_japanese', {'lookup': 50})]
pipeline.Corpus.exact_deduplication = True
pipeline.Corpus.near_deduplication = {'threshold': 0.7}
"""


def start(raw: Path, output: Path, gin: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "tools/build_corpus.py", f"--gin_file={gin}"]
    command += [f"--gin.INPUT_DIR={raw}", f"--gin.OUTPUT_DIR={output}"]
    return subprocess.Popen(
        command,
        cwd=repository_root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def all_end(processes: list[psutil.Process], within: float = 5.0) -> bool:
    """Whether they end soon; a zombie has ended, it only waits to be counted by whoever inherited it."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(is_alive(process) for process in processes):
            return True
        time.sleep(0.05)
    return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def expected(raw, tmp_path):
    corpus = web(near_deduplication={"threshold": 0.7})
    build_corpus(
        input_dir=str(raw),
        output_dir=str(tmp_path / "expected"),
        corpora=[corpus],
        executor=ONE,
        keep_dropped=True,
        split_bytes=6000,
    )
    return {
        name: digest
        for name, digest in contents(tmp_path / "expected").items()
        if not name.endswith("report.html")  # it shows the configuration, here written by gin
    }


def without_reports(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(folder).items() if not name.endswith("report.html")}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(raw, tmp_path, expected):
    gin = tmp_path / "web.gin"
    gin.write_text(GIN)
    choice = random.Random(os.environ.get("PYTEST_SEED", 4))
    kills, output = 0, tmp_path / "out"
    for delay in [1.5, *(choice.uniform(1.5, 6) for _ in range(5))]:
        process = start(raw, output, gin)
        deadline = time.monotonic() + delay
        children: dict[int, psutil.Process] = {}
        while time.monotonic() < deadline and process.poll() is None:
            children |= {child.pid: child for child in descendants(process)}
            time.sleep(0.02)
        if process.poll() is None:
            kills += 1
            process.send_signal(signal.SIGKILL)
        # The pipes close only when the last of its processes has ended: an orphan would hold them.
        process.communicate(timeout=20)
        assert all_end(list(children.values()))
    assert kills >= 2
    finished = start(raw, output, gin)
    _, errors = finished.communicate(timeout=120)
    assert finished.returncode == 0, errors
    found = without_reports(output)
    # The record's fingerprint depends on the input's times, which are the same; so all files are.
    assert found == expected
    assert not (output / ".build").exists()
