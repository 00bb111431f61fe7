"""Three small runs of the same questions, and a report of them, made once."""

import json
from pathlib import Path

import pytest

from llmjp_jax.evaluation.report import write_report
from tests.evaluation.report.sample_runs import write_run

# Five categories are whole: EL, MC, MR, RC and QA.
TASKS = [
    "chabsa", "jcommonsenseqa", "jemhopqa", "jnli", "jsquad", "jsts", "mawps", "niilc", "alt-e-to-j",
]  # fmt: skip


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory) -> Path:
    """`base`, `better` (asked the same) and `other` (fewer samples, no shots, an answer that is hostile)."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "base", "runs/base", seed=1, skill=0.4, samples=30, tasks=TASKS)
    write_run(folder / "better", "runs/better", seed=2, skill=0.9, samples=30, tasks=TASKS, step=1200)  # fmt: skip
    write_run(folder / "other", "runs/other", seed=3, skill=0.3, samples=20, shots=0, tasks=TASKS)
    return folder


@pytest.fixture(scope="session")
def report(runs_dir, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of a report about the three, and its report.json."""
    folder = tmp_path_factory.mktemp("report")
    names = [str(runs_dir / name) for name in ("base", "better", "other")]
    write_report(names, folder, progress=False)
    return folder, json.loads((folder / "report.json").read_text(encoding="utf-8"))
