"""Executors: the same files from processes of this machine and from a Slurm that runs its arrays at once."""

import os
import sys
from pathlib import Path

import pytest

from llmjp_jax.corpus.pipeline import LocalExecutor, RayExecutor, SlurmExecutor
from llmjp_jax.errors import UserError
from tests.corpus.pipeline.test_build import build, contents, web

SBATCH = f"""#!{sys.executable}
# Runs a job array at once, task by task, as sbatch would have it run later; notes what it was asked for.
import os, re, subprocess, sys
script = open(sys.argv[-1]).read()
with open(os.environ["FAKE_SLURM_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:-1]) + "\\n" + script + "\\n")
array = re.search(r"--array=0-(\\d+)", script)
for task in range(int(array[1]) + 1 if array else 1):
    environment = dict(os.environ, SLURM_JOB_ID="7", SLURM_NODELIST="node", SLURM_ARRAY_TASK_ID=str(task), RUN_OFFSET="0")
    result = subprocess.run(["bash", sys.argv[-1]], env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
print("Submitted batch job 7")
"""
SRUN = '#!/bin/bash\nwhile [[ "$1" == -* ]]; do [[ "$1" == -n ]] && shift; shift; done\nexec "$@"\n'
SCONTROL = "#!/bin/bash\necho localhost\n"


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A PATH with a Slurm; returns the log of what was submitted."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, content in {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM_LOG", str(folder / "log"))
    return folder / "log"


@pytest.mark.slow
def test_slurm_gives_the_same_files(raw, tmp_path, slurm):
    executor = SlurmExecutor(partition="cpu", time="1:00:00", sbatch_args={"account": "me"})
    corpus = web(exact_deduplication=False)
    # It goes on elsewhere.
    parts = {"split_bytes": 150_000}
    assert build(raw, tmp_path / "slurm_out", corpus, executor=executor, **parts) == []
    build(raw, tmp_path / "local_out", corpus, executor=LocalExecutor(workers=1), **parts)
    found = contents(tmp_path / "slurm_out" / "web")
    assert found == contents(tmp_path / "local_out" / "web")
    # The same command, when all jobs have ended, finds them, tidies up and writes the report over all.
    assert len(build(raw, tmp_path / "slurm_out", corpus, executor=executor, **parts)) == 1
    assert contents(tmp_path / "slurm_out") == contents(tmp_path / "local_out")
    log = slurm.read_text()
    for line in ("--partition=cpu", "--time=1:00:00", "--account=me", "--array=0-3"):
        assert line in log
    assert "--dependency=afterok:7" in log  # each stage waits for the one before


def test_slurm_is_missed_in_one_sentence(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="SlurmExecutor needs `sbatch`.*or use LocalExecutor"):
        build(raw, tmp_path / "out", executor=SlurmExecutor(partition="cpu", time="1:00:00"))


def test_ray_is_missed_in_one_sentence(raw, tmp_path):
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"needs the package ray: pip install -e '.\[ray\]'"):
            build(raw, tmp_path / "out", executor=RayExecutor())
    else:
        pytest.skip("ray is installed, so it is not missed")


@pytest.mark.slow
def test_ray_gives_the_same_files(raw, tmp_path):
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        build(raw, tmp_path / "ray", executor=RayExecutor(mem_per_cpu_gb=0.5))
    finally:
        ray.shutdown()
    build(raw, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_workers_defect_is_a_defect(raw, tmp_path):
    """What no user did wrong keeps its traceback."""
    with pytest.raises(TypeError):
        build(raw, tmp_path / "out", web(reader_options={"start": "a"}))
