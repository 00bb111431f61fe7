"""Writes a report: reads the runs, finds the numbers, and puts page, Markdown and JSON into a folder, each whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.contamination import with_contamination
from llmjp_jax.evaluation.report.findings import Findings, as_json, find
from llmjp_jax.evaluation.report.markdown import markdown
from llmjp_jax.evaluation.report.page import page
from llmjp_jax.evaluation.report.runs import read_runs
from llmjp_jax.evaluation.report.samples import EACH
from llmjp_jax.files import atomic_write

NAMES = ("report.html", "report.md", "report.json")


def write_report(
    runs: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    *,
    paper: Sequence[str] | None = None,
    samples: int = EACH,
    progress: bool = True,
) -> Findings:
    """Writes report.html, report.md and report.json; the same runs give the same bytes.

    Args:
      runs: PATH or NAME=PATH of each, see `runs.read_runs`; the others are compared with the first.
      paper: the paper's rows to set beside them ('v1.0-A' ... 'v2.0-O'); None: the nearest of each run.
      samples: right and wrong answers that are shown of each task; 0: none.

    Returns:
      The numbers of the report.

    Raises:
      UserError: a run cannot be read, or the paper has no such row.
    """
    if samples < 0:
        raise UserError(f"samples = {samples} must be 0 or more")
    findings = find([with_contamination(run) for run in read_runs(runs)], paper, progress)
    numbers = json.dumps(as_json(findings), ensure_ascii=False, indent=1, allow_nan=False, default=str)  # fmt: skip
    texts = (page(findings, samples), markdown(findings, samples), numbers + "\n")
    for name, content in zip(NAMES, texts, strict=True):
        with atomic_write(Path(output_dir) / name, "w") as file:
            file.write(content)
    return findings
