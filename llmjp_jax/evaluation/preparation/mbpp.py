"""MBPP in Japanese: short Python programs, asked for with the tests that they must pass.

Raw data: llm-jp/mbpp-ja on Hugging Face, `mbpp_translation.jsonl`: MBPP's own fields task_id, test_list and test_setup_code, and text_jpn.
Instruction and limit are llm-jp-eval 1.4's. How it lays a sample out is not known: what is here is ours, so that scores compare with each
other but not with LLM-jp's. The gold answer is not a program but the tests (`code_exec` runs them after the answer), so shots would show
the wrong thing: evaluate with 0 shots, as LLM-jp's leaderboard does.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.evaluation.preparation.raw_files import field, json_lines
from llmjp_jax.evaluation.preparation.splitting import Splits
from llmjp_jax.evaluation.task_files import Sample

# google-research/mbpp, README: task_id 11 to 510 test, 511 to 600 validation, 601 to 974 training; 1 to 10 are for prompts.
_SPLITS = {"train": range(601, 975), "dev": range(511, 601), "test": range(11, 511)}


def prepare(raw: Path) -> Splits:
    """MBPP's own splits, in the order of its file.

    Raises:
      UserError: the raw file is missing, or a line is not as described.
    """
    splits: dict[str, list[Sample]] = {split: [] for split in _SPLITS}
    for place, problem in json_lines(raw / "mbpp_translation.jsonl"):
        task_id = field(problem, "task_id", int, place)
        for split, task_ids in _SPLITS.items():
            if task_id in task_ids:
                splits[split].append(_sample(problem, place))
    return Splits(**splits)


def _sample(problem: dict, place: str) -> Sample:
    tests = [field({"test": test}, "test", str, place) for test in field(problem, "test_list", list, place)]  # fmt: skip
    setup = problem.get("test_setup_code") or ""
    asked = field(problem, "text_jpn", str, place)
    return Sample("\n".join([asked, *tests]), "\n".join([setup, *tests] if setup else tests))
