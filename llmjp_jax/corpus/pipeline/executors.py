"""Who runs the tasks of a build's stages: processes of this machine, Slurm, or Ray, all through datatrove.

datatrove (github.com/huggingface/datatrove) marks each finished task with a file, so that a killed run goes on with the
rest. What it knows a task by is its number alone: the folder of the marks must name what is done (`build.py`).
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.pipeline.progress import ProgressBar, TaskProgress
from llmjp_jax.corpus.pipeline.stages import Stage
from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class LocalExecutor:
    """Runs tasks in processes of this machine, and shows a bar for each stage.

    Attributes:
      workers: processes at a time; -1: one a core.
    """

    workers: int = -1

    def __post_init__(self):
        _check_workers(self.workers)

    def run(self, stages: Sequence[Stage], folder: Path, title: str, sizes: dict[str, int]) -> bool:
        """Runs the stages in turn; what is finished already is not run again.

        Args:
          folder: for marks, logs and progress. title: of the bars. sizes: bytes of input by the stage's name.

        Returns: whether everything is done when this returns.
        """
        from llmjp_jax.corpus.pipeline.datatrove_steps import local_executor

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        for stage in stages:
            workers = min(self.workers if self.workers > 0 else cores or 1, stage.tasks)
            progress = TaskProgress(folder / stage.name)
            with ProgressBar(
                progress, f"{title}: {stage.name}", stage.tasks, sizes.get(stage.name)
            ):
                local_executor(stage, folder / stage.name, max(1, workers)).run()
        return True


@dataclasses.dataclass(frozen=True)
class SlurmExecutor:
    """Submits each stage as an array of jobs that waits for the stage before; returns when all are submitted.

    The input, the output and this package lie on a file system that the nodes share.

    Attributes:
      partition, time, qos: as `sbatch` takes them.
      workers: tasks at a time; -1: no limit.
      cpus_per_task, mem_per_cpu_gb: of each task.
      env_command: run before each task; None: the Python environment that submits is made active.
      sbatch_args: further `--NAME=VALUE` of sbatch.
    """

    partition: str
    time: str
    qos: str | None = None
    workers: int = -1
    cpus_per_task: int = 1
    mem_per_cpu_gb: int = 4
    env_command: str | None = None
    sbatch_args: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _check_workers(self.workers)

    def run(self, stages: Sequence[Stage], folder: Path, title: str, sizes: dict[str, int]) -> bool:
        import shutil

        from llmjp_jax.corpus.pipeline.datatrove_steps import slurm_executor

        if shutil.which("sbatch") is None:
            raise UserError(
                "SlurmExecutor needs `sbatch`, which is not on this machine; run on a login node of the cluster, or use LocalExecutor"
            )
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if options["env_command"] is None:
            options["env_command"] = f'export PATH="{Path(sys.executable).parent}:$PATH"'
        before = None
        for stage in stages:
            before = slurm_executor(stage, folder / stage.name, title, before, options)
            before.run()
        print(f"{title}: {len(stages)} stages submitted to Slurm; logs lie under {folder}")
        return False


@dataclasses.dataclass(frozen=True)
class RayExecutor:
    """Runs tasks on a Ray cluster, to which `ray.init()` connects (RAY_ADDRESS); waits for each stage.

    Attributes:
      workers: tasks at a time; -1: no limit.
      cpus_per_task, mem_per_cpu_gb: of each task.
    """

    workers: int = -1
    cpus_per_task: int = 1
    mem_per_cpu_gb: float = 2.0

    def __post_init__(self):
        _check_workers(self.workers)

    def run(self, stages: Sequence[Stage], folder: Path, title: str, sizes: dict[str, int]) -> bool:
        import importlib.util

        from llmjp_jax.corpus.pipeline.datatrove_steps import ray_executor

        if importlib.util.find_spec("ray") is None:
            raise UserError("RayExecutor needs the package ray: pip install -e '.[ray]'")
        for stage in stages:
            progress = TaskProgress(folder / stage.name)
            with ProgressBar(
                progress, f"{title}: {stage.name}", stage.tasks, sizes.get(stage.name)
            ):
                ray_executor(stage, folder / stage.name, dataclasses.asdict(self)).run()
            missing = stage.tasks - progress.finished()
            if missing:
                raise UserError(
                    f"{missing} of {stage.tasks} tasks of {title}: {stage.name} failed on Ray; their logs lie under "
                    f"{folder / stage.name / 'logs'}"
                )
        return True


Executor = LocalExecutor | SlurmExecutor | RayExecutor


def _check_workers(workers: int) -> None:
    if workers != -1 and workers < 1:
        raise UserError(f"workers is {workers}; give a number of processes, or -1 for no limit")
