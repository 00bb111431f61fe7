"""Natural language inference: jnli, janli, jsick, jamp and jsem, from raw files to samples.

Labels stand as in the raw data. Sources: llm-jp-eval v1.3.0, datasets/{jnli,janli,jsick,jamp,jsem}.py.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import checked, field, json_lines, tsv_rows
from llmjp_jax.evaluation.preparation.splitting import Splits, three_way, with_own_test
from llmjp_jax.evaluation.preparation.xml_elements import Element, read_xml
from llmjp_jax.evaluation.task_files import Sample

_THREE = ("entailment", "contradiction", "neutral")
_TWO = ("entailment", "non-entailment")
_JSEM_KEPT = ("yes", "no", "unknown", "undef")
_JSEM_DROPPED = ("", "infelicitous", "unacceptable", "weakacceptable")
# In the order in which they are read; data/v1.0 has further files, which are not.
_JSEM_FILES = (
    "Adjectives", "Adverb", "Attitudes", "AuxiliaryVerb", "CaseParticle", "Comparatives", "CompoundAdjective", "CompoundVerb",
    "Conditional", "Conjunction", "Coordination", "Ellipsis", "GeneralizedQuantifier", "Modality", "NP", "NewAdjective",
    "NominalAnaphora", "Plurals", "Question", "TemporalReference", "Toritate", "Verbs",
)  # fmt: skip


def prepare_jnli(raw: Path) -> Splits:
    """JGLUE's train, and its valid as test.

    Raises:
      UserError: as `json_lines`; a field is missing or a label is unknown.
    """

    def read(path: Path) -> list[Sample]:
        return [
            _pair(
                field(record, "sentence1", str, place),
                field(record, "sentence2", str, place),
                checked(field(record, "label", str, place), _THREE, "label", place),
            )
            for place, record in json_lines(path)
        ]

    return with_own_test(read(raw / "train-v1.1.json"), read(raw / "valid-v1.1.json"))


def prepare_janli(raw: Path) -> Splits:
    """One table, whose last column says which rows are the test.

    Raises:
      UserError: as `tsv_rows`; a label or a split is unknown.
    """
    samples = {"train": [], "test": []}
    for place, cells in tsv_rows(raw / "janli.tsv", columns=5):
        split = checked(cells[-1].strip(), samples, "split", place)
        label = checked(cells[3], _TWO, "label", place)
        samples[split].append(_pair(cells[1], cells[2], label))
    return with_own_test(samples["train"], samples["test"])


def prepare_jsick(raw: Path) -> Splits:
    """The Japanese pairs of SICK's train and test.

    Raises:
      UserError: as `tsv_rows`; a label is unknown.
    """
    return with_own_test(
        _table(raw / "train.tsv", premise=8, hypothesis=9, label=10),
        _table(raw / "test.tsv", premise=8, hypothesis=9, label=10),
    )


def prepare_jamp(raw: Path) -> Splits:
    """The whole training table, and the second of its tests.

    Raises:
      UserError: as `tsv_rows`; a label is unknown.
    """
    return with_own_test(
        _table(raw / "train_all.tsv", premise=1, hypothesis=2, label=3),
        _table(raw / "test_2.tsv", premise=1, hypothesis=2, label=3),
    )


def prepare_jsem(raw: Path) -> Splits:
    """The problems of all 22 files whose answer is yes, no, unknown or undef, pooled.

    Raises:
      UserError: as `read_xml`; a problem lacks an element or has an unknown answer.
    """
    samples = []
    for name in _JSEM_FILES:
        for problem in read_xml(raw / f"{name}.xml").all("problem"):
            known = _JSEM_KEPT + _JSEM_DROPPED
            answer = checked(problem.attributes.get("answer", ""), known, "answer", problem.place)
            if answer in _JSEM_DROPPED:
                continue
            premises = problem.all("p")
            if not premises:
                raise UserError(f"{problem.place}: the problem has no premise <p>; correct it")
            premise = "".join(_script(p) for p in premises)
            samples.append(_pair(premise, _script(problem.one("h")), answer))
    return three_way(samples)


def _pair(premise: str, hypothesis: str, label: str) -> Sample:
    return Sample(f"前提：{premise}\n仮説：{hypothesis}", label)


def _table(path: Path, *, premise: int, hypothesis: int, label: int) -> list[Sample]:
    return [
        _pair(cells[premise], cells[hypothesis], checked(cells[label], _THREE, "label", place))
        for place, cells in tsv_rows(path, columns=label + 1)
    ]


def _script(parent: Element) -> str:
    script = parent.one("script")
    text = script.text.strip()
    if not text:
        raise UserError(f"{script.place}: <script> is empty; give it its sentence")
    return text
