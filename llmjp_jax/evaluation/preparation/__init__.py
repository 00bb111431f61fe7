"""Preparation: the raw files of a data set in, the samples of a task out, by llm-jp-eval's rules.

`PREPARERS` has a function for each task that takes the data set's folder, which `RAW_FOLDERS` finds; `prepare_task` makes of its
samples the three files of the task. Rules for shuffling and splitting are in `splitting`, strict readers in `raw_files` and
`xml_elements`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation import (
    acceptability,
    examinations,
    inference,
    kuci,
    mbpp,
    questions,
    sentiment,
    translation,
    wikipedia,
)
from llmjp_jax.evaluation.preparation.raw_folders import RAW_FOLDERS
from llmjp_jax.evaluation.preparation.splitting import Splits
from llmjp_jax.evaluation.task_files import SPLITS, TaskFile
from llmjp_jax.evaluation.tasks import EvaluationTask

__all__ = ["PREPARERS", "RAW_FOLDERS", "MissingRawData", "Splits", "prepare_task"]

PREPARERS: dict[str, Callable[[Path], Splits]] = {
    "alt-e-to-j": translation.prepare_alt_e_to_j,
    "alt-j-to-e": translation.prepare_alt_j_to_e,
    "chabsa": sentiment.prepare_chabsa,
    "jamp": inference.prepare_jamp,
    "janli": inference.prepare_janli,
    "jcommonsenseqa": questions.prepare_jcommonsenseqa,
    "jemhopqa": questions.prepare_jemhopqa,
    "jmmlu": examinations.prepare_jmmlu,
    "jnli": inference.prepare_jnli,
    "jsem": inference.prepare_jsem,
    "jsick": inference.prepare_jsick,
    "jsquad": questions.prepare_jsquad,
    "jsts": questions.prepare_jsts,
    "mawps": questions.prepare_mawps,
    "mmluen": examinations.prepare_mmluen,
    "niilc": questions.prepare_niilc,
    "wikicorpus-e-to-j": translation.prepare_wikicorpus_e_to_j,
    "wikicorpus-j-to-e": translation.prepare_wikicorpus_j_to_e,
    "wiki_reading": wikipedia.prepare_reading,
    "wiki_ner": wikipedia.prepare_ner,
    "wiki_dependency": wikipedia.prepare_dependency,
    "wiki_pas": wikipedia.prepare_pas,
    "wiki_coreference": wikipedia.prepare_coreference,
    "commonsensemoralja": acceptability.prepare_commonsensemoralja,
    "kuci": kuci.prepare,
    "mbpp": mbpp.prepare,
    "jcola-in-domain": acceptability.prepare_jcola_in_domain,
    "jcola-out-of-domain": acceptability.prepare_jcola_out_of_domain,
    "jblimp": acceptability.prepare_jblimp,
}


class MissingRawData(UserError):
    """A task's raw data is not below --raw_dir; the message names the command that fetches it."""


def prepare_task(task: EvaluationTask, raw_dir: str | Path) -> dict[str, TaskFile]:
    """The files of a task by split, from raw data in one of its folders below `raw_dir`.

    Raises:
      MissingRawData: the raw data is not there.
      UserError: it is not as published (names file and line), or a split of it would be empty.
    """
    raw_dir = Path(raw_dir)
    place = RAW_FOLDERS[task.name]
    folder = place.find(raw_dir)
    if folder is None:
        looked = " or ".join(str(raw_dir / name) for name in place.names)
        raise MissingRawData(
            f"{task.name} has no raw data ({place.marker} in {looked}); fetch it with: "
            f"python tools/download.py {task.source} --output_dir={raw_dir}"
        )
    splits = PREPARERS[task.name](folder)
    files = {}
    for split in SPLITS:
        samples = tuple(getattr(splits, split))
        if not samples:
            raise UserError(f"{task.name}: the raw data in {folder} leaves no sample for {split}; fetch all of it")  # fmt: skip
        files[split] = TaskFile(task.instruction, task.output_length, task.metrics, samples)
    return files
