"""The one place where a `Stage` becomes a datatrove pipeline, and where datatrove's habits are met.

Importing this module imports datatrove (one to two seconds).
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from llmjp_jax.corpus.pipeline.progress import TaskProgress
from llmjp_jax.corpus.pipeline.stages import Stage

# Named, not imported: it is meant for the fork server.
_ORPHANS = "llmjp_jax.corpus.pipeline.orphans"


class StageStep(PipelineStep):
    """A stage as the only step of a datatrove pipeline: task `rank` of datatrove is task `rank` of the stage."""

    type = "llmjp_jax"

    def __init__(self, stage: Stage, folder: Path):
        super().__init__()
        self.name = stage.name
        self.stage = stage
        self.folder = folder

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        if multiprocess.parent_process() is not None:
            # Ctrl-C reaches every process of the terminal; the one that waits for the workers ends them.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        with TaskProgress(self.folder).reporting(rank) as progress:
            self.stage.run(rank, progress)

    __call__ = run


class _LocalExecutor(LocalPipelineExecutor):
    """datatrove's, without the dozens of lines that it prints for each task of local rank 0, and without orphans."""

    def run(self):
        # The manager, too, comes from the fork server: a fork of this process may hang where it has threads, as JAX's.
        before = multiprocess.get_start_method(allow_none=True)
        multiprocess.set_start_method("forkserver", force=True)
        try:
            return super().run()
        finally:
            multiprocess.set_start_method(before, force=True)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1):
        logger.disable("datatrove")
        return super()._run_for_rank(rank, 1, node_rank)


def local_executor(stage: Stage, folder: Path, workers: int) -> LocalPipelineExecutor:
    """Runs the tasks in `workers` processes that end when this one does, even by kill -9."""
    logger.disable("datatrove")
    multiprocess.set_forkserver_preload([_ORPHANS, __name__])
    return _LocalExecutor(
        [StageStep(stage, folder)],
        tasks=stage.tasks,
        workers=workers,
        logging_dir=str(folder),
        start_method="forkserver",
    )


def slurm_executor(stage: Stage, folder: Path, title: str, before: Any, options: dict[str, Any]):
    from datatrove.executor import SlurmPipelineExecutor

    return SlurmPipelineExecutor(
        [StageStep(stage, folder)],
        tasks=stage.tasks,
        logging_dir=str(folder),
        job_name=f"{title}-{stage.name}".replace("/", "-"),
        depends=before,
        **options,
    )


def ray_executor(stage: Stage, folder: Path, options: dict[str, Any]):
    from datatrove.executor import RayPipelineExecutor

    return RayPipelineExecutor(
        [StageStep(stage, folder)], tasks=stage.tasks, logging_dir=str(folder), **options
    )
