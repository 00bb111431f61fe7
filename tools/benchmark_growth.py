"""The growth benchmark: the time and memory of a whole corpus build, as the number of documents grows.

Each build is `tools/build_corpus.py` in a process of its own with one worker: corpus v1's steps for Japanese web pages, exact and
near-duplicate deduplication, split, statistics and report. Making the raw text is not timed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm

from llmjp_jax.files import git_commit, repository_root
from tools.benchmark_corpus import make_pages
from tools.benchmark_machine import machine, versions

_FILE_DOCUMENTS = 50_000
_CHARACTERS = 150  # of a page in the median: a million of them are half a gigabyte
_FLAGS = [
    "--gin_file=gin_configs/corpus/v1.gin",
    "--gin.CORPORA=[@ja_cc/pipeline.Corpus()]",
    "--gin.ja_cc/pipeline.Corpus.inputs=['*.jsonl']",
    "--gin.pipeline.Corpus.exact_deduplication=True",
    "--gin.pipeline.Corpus.near_deduplication={}",
    "--gin.pipeline.Corpus.folds=0",
    "--gin.WORKERS=1",
]


def measure_growth(options: argparse.Namespace) -> dict[str, Any]:
    """Builds a corpus of each number of documents in `options.documents`.

    Returns:
      For each: MB of raw text, seconds by the clock and of the processor, MB/s of the processor, and the most memory that the process
      held, in MB.
    """
    report: dict[str, Any] = {
        "benchmark": "corpus_growth",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": options.commit or git_commit(),
        "machine": machine(1),
        "versions": versions("numpy", "numba", "datatrove", "ahocorasick_rs"),
        "rows": [],
    }
    for count in options.documents:
        with tempfile.TemporaryDirectory(prefix="growth") as folder:
            size = _write_raw(Path(folder, "raw"), count)
            report["rows"].append({"documents": count, "megabytes": size / 1e6, **_build(folder)})
            row = report["rows"][-1]
            row["megabytes_per_cpu_second"] = row["megabytes"] / row["cpu_seconds"]
    return report


def _write_raw(folder: Path, count: int) -> int:
    """Writes `count` pages, of which one in twenty is a copy of an earlier one; returns their bytes of text."""
    folder.mkdir()
    size = 0
    for number in tqdm(range(0, count, _FILE_DOCUMENTS), desc="raw text", leave=False):
        pages = make_pages(min(_FILE_DOCUMENTS, count - number), seed=number, median=_CHARACTERS)
        with (folder / f"{number:09d}.jsonl").open("wb") as file:
            for place, page in enumerate(pages):
                if place % 20 == 19:
                    page = pages[place - 10]
                size += len(page["text"].encode())
                file.write(orjson.dumps({"text": page["text"], **page["meta"]}) + b"\n")
    return size


def _build(folder: str) -> dict[str, float]:
    command = [sys.executable, "tools/build_corpus.py", *_FLAGS]
    command += [f"--gin.INPUT_DIR={folder}/raw", f"--gin.OUTPUT_DIR={folder}/corpora"]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=repository_root(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_megabytes": usage.ru_maxrss * 1024 / 1e6,
    }
