"""KUCI, the Kyoto University Commonsense Inference data set: which of four sentences goes on from a context.

Raw data: ku-nlp/KUCI, `dataset/{train,dev,test}.jsonl` with the fields context, choice_a to choice_d and label, a letter; words are
separated by spaces. Rules: instruction, limit and metric from the head of llm-jp-eval 1.4's own kuci.py, which takes no random numbers,
so the files keep their order; the layout of a sample from a file that llm-jp-eval 2 made (Salouo/winrate-guided-instruction-tuning-agent,
datasets/test_base/kuci.json). The official hash could not be checked: the raw data was out of reach.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.evaluation.preparation.raw_files import checked, field, json_lines
from llmjp_jax.evaluation.preparation.splitting import Splits
from llmjp_jax.evaluation.task_files import Sample

_LETTERS = "abcd"


def prepare(raw: Path) -> Splits:
    """The data set's own splits, in the order of its files.

    Raises:
      UserError: a raw file is missing, or a line is not as described.
    """
    return Splits(*(_samples(raw / f"{split}.jsonl") for split in ("train", "dev", "test")))


def _samples(path: Path) -> list[Sample]:
    samples = []
    for place, problem in json_lines(path):
        choices = ",".join(
            f"{number}.{_joined(field(problem, f'choice_{letter}', str, place))}"
            for number, letter in enumerate(_LETTERS)
        )
        context = _joined(field(problem, "context", str, place))
        label = checked(field(problem, "label", str, place), _LETTERS, "label", place)
        samples.append(Sample(f"文脈：{context}\n選択肢：{choices}", str(_LETTERS.index(label))))
    return samples


def _joined(words: str) -> str:
    return words.replace(" ", "")
