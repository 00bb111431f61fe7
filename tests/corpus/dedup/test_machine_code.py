import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import llmjp_jax.corpus.dedup as dedup

SOURCE = Path(dedup.__file__).parent


def overlap_in_a_copy(folder, environment=None):
    """Imports the kernels from a copy of the package in `folder` and asks a kernel that calls one of another file."""
    program = (
        "import numpy as np\n"
        "from llmjp_jax.corpus.dedup.simhash import lengths_agree\n"
        "from llmjp_jax.corpus.dedup.near_search import find_pairs, bitsets\n"
        "units = np.arange(100, 300, dtype=np.uint16); units = np.concatenate([units, units])\n"
        "starts = np.array([0, 200, 400]); signatures = np.ones((2, 2), np.uint64)\n"
        "print(len(find_pairs(signatures, units, starts, *bitsets(units, starts), np.zeros(2, np.int64), 0)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder), **(environment or {})}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.fixture
def copy(tmp_path):
    """A package with only what the kernels need."""
    target = tmp_path / "llmjp_jax" / "corpus" / "dedup"
    target.mkdir(parents=True)
    for name in ("machine_code.py", "shingles.py", "simhash.py", "near_search.py"):
        shutil.copy(SOURCE / name, target / name)
    for package in (target, *target.parents[:2]):
        (package / "__init__.py").touch()
    return tmp_path, target


@pytest.mark.slow
def test_a_changed_kernel_changes_those_that_call_it_from_other_files(copy):
    folder, package = copy
    assert overlap_in_a_copy(folder) == 1
    assert list(package.glob("__pycache__/kernels-*/*/*.nbi"))
    rule = package / "simhash.py"
    changed = rule.read_text().replace("17 * differing > 3 * total", "17 * differing >= -1")
    rule.write_text(changed)
    assert overlap_in_a_copy(folder) == 0


def test_without_a_place_for_machine_code_the_kernels_run_all_the_same(copy, tmp_path):
    folder, package = copy
    (package / "__pycache__").write_text("a file where the folder would be")
    (tmp_path / "home").write_text("and another")
    nowhere = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    assert overlap_in_a_copy(folder, nowhere) == 1
    assert list(tmp_path.glob("llmjp_jax-kernels-*"))
