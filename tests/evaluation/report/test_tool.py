"""tools/report.py writes its three files, and a user's mistake is one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.report.sample_runs import write_run

TOOL = Path(__file__).resolve().parents[3] / "tools" / "report.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), tasks=["chabsa", "jnli"], samples=12, judged=False)  # fmt: skip


def tool(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)  # fmt: skip


def test_three_files_are_written(run, tmp_path):
    done = tool(f"first={run}", f"again={run}", "--paper=v2.0-L", "--samples=1", f"--output_dir={tmp_path / 'out'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "report.md"]  # fmt: skip
    numbers = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in numbers["runs"]] == ["first", "again"]
    assert numbers["paper"]["shown"] == ["v2.0-L"]


@pytest.mark.parametrize("arguments, said", [
    (["--paper=v2.0-P"], "the paper has no model 'v2.0-P'; did you mean 'v2.0-"),
    (["missing"], "there is no run at missing"),
    (["--samples=-1"], "samples = -1 must be 0 or more"),
])  # fmt: skip
def test_a_users_mistake_is_one_sentence(run, tmp_path, arguments, said):
    done = tool(run, *arguments, f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(f"error: {said}")
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
