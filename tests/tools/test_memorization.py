"""tools/memorization.py before it does anything: its flags. What it does is tested in tests/search/memorization."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import memorization

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ["--run=nowhere", "--index=nowhere", "--output_dir=out"]


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--prefix_lengths=100,,200", "--prefix_lengths=100,,200 must be whole numbers"),
        ("--prefix_lengths=0", "prefix_lengths"),
        ("--continuation=0", "continuation"),
        ("--step=3.5", "--step=3.5 must be a whole number or 'best'"),
        ("--seed=1", "nowhere"),
    ],
)
def test_a_wrong_flag_is_one_sentence(flag, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        memorization.main([*NEEDED, flag])
    error = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and error[-1].startswith("error: ") and sentence in error[-1]


def test_the_door_opens_without_jax():
    code = "import sys, llmjp_jax.search.memorization; print('jax' in sys.modules, 'tantivy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)  # fmt: skip
    assert found.stdout.split() == ["False", "False"], found.stderr
