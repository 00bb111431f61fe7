"""Named targets and what is said of them: chabsa, from raw files to samples. Source: llm-jp-eval v1.3.0, datasets/chabsa.py."""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import checked, field, json_document
from llmjp_jax.evaluation.preparation.splitting import Splits, three_way
from llmjp_jax.evaluation.task_files import Sample

_POLARITIES = ("positive", "neutral", "negative")


def prepare_chabsa(raw: Path) -> Splits:
    """Every sentence with an opinion, in the files' order; a line `target polarity` for each opinion, duplicates and all.

    Raises:
      UserError: as `json_document`; there is no file; a field is missing or a polarity unknown.
    """
    paths = sorted(path for path in raw.glob("*.json") if not path.name.startswith("."))
    if not paths:
        raise UserError(f"there is no .json in {raw}; fetch chABSA again")
    samples = []
    for path in paths:
        sentences = field(json_document(path, dict), "sentences", list, f"{path}, the whole file")
        for index, sentence in enumerate(sentences):
            place = f"{path}, sentence {index}"
            text = field(sentence, "sentence", str, place)
            lines = []
            for opinion in field(sentence, "opinions", list, place):
                target = field(opinion, "target", str, place)
                polarity = field(opinion, "polarity", str, place)
                lines.append(f"{target} {checked(polarity, _POLARITIES, 'polarity', place)}")
            if lines:
                samples.append(Sample(f"文章：{text}", "\n".join(lines)))
    return three_way(samples)
