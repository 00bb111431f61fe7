"""Examinations with four choices: jmmlu and mmluen, from raw files to samples.

Sources: llm-jp-eval v1.3.0, datasets/{jmmlu,mmluen}.py.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import checked, csv_rows
from llmjp_jax.evaluation.preparation.splitting import Splits, generator, shuffled
from llmjp_jax.evaluation.task_files import Sample

_LETTERS = ("A", "B", "C", "D")
_TRAIN_OF_EACH = 16  # of jmmlu's two pools
# The subjects in the order in which they are read. The three under CC BY-NC-ND are left out.
_JMMLU_SUBJECTS = (
    "econometrics", "human_aging", "high_school_psychology", "professional_medicine", "electrical_engineering", "college_mathematics",
    "medical_genetics", "formal_logic", "nutrition", "prehistory", "world_religions", "japanese_history", "high_school_geography",
    "international_law", "logical_fallacies", "human_sexuality", "philosophy", "college_medicine", "professional_accounting",
    "high_school_mathematics", "global_facts", "business_ethics", "high_school_chemistry", "college_physics",
    "high_school_statistics", "moral_disputes", "high_school_biology", "miscellaneous", "high_school_macroeconomics",
    "high_school_computer_science", "abstract_algebra", "elementary_mathematics", "jurisprudence", "security_studies",
    "high_school_physics", "college_computer_science", "public_relations", "management", "computer_security", "college_chemistry",
    "anatomy", "high_school_european_history", "machine_learning", "virology", "high_school_microeconomics", "astronomy",
    "world_history", "college_biology", "clinical_knowledge", "conceptual_physics", "professional_psychology", "sociology",
    "marketing",
)  # fmt: skip


def prepare_jmmlu(raw: Path) -> Splits:
    """53 subjects, each shuffled and halved into two pools, which are shuffled in turn; train is the first 16 of both.

    One generator serves all shuffles.

    Raises:
      UserError: as `csv_rows`; an answer is not A, B, C or D.
    """
    numbers = generator()
    dev: list[Sample] = []
    test: list[Sample] = []
    for subject in _JMMLU_SUBJECTS:
        rows = shuffled(_questions(raw / f"{subject}.csv", _japanese, bom=True), numbers)
        half = len(rows) // 2
        dev += rows[:half]
        test += rows[half:]
    dev, test = shuffled(dev, numbers), shuffled(test, numbers)
    first = _TRAIN_OF_EACH
    return Splits(dev[:first] + test[:first], dev[first:], test[first:])


def prepare_mmluen(raw: Path) -> Splits:
    """MMLU's dev as train, val as dev, and its test; each subject shuffled, then one question of every subject in turn.

    Past the smallest subject's size the others' rest follows, subject by subject.

    Raises:
      UserError: as `csv_rows`; a folder is empty; an answer is not A, B, C or D.
    """

    def read(folder: str) -> list[Sample]:
        paths = sorted((raw / folder).glob("*.csv"))
        if not paths:
            raise UserError(f"there is no .csv in {raw / folder}; fetch MMLU again")
        subjects = [shuffled(_questions(path, _english)) for path in paths]
        smallest = min(map(len, subjects))
        turns = [subject[turn] for turn in range(smallest) for subject in subjects]
        return turns + [sample for subject in subjects for sample in subject[smallest:]]

    return Splits(read("dev"), read("val"), read("test"))


def _questions(path: Path, form, *, bom: bool = False) -> list[Sample]:
    samples = []
    for place, (question, *choices, letter) in csv_rows(path, columns=6, bom=bom):
        checked(letter, _LETTERS, "answer", place)
        samples.append(Sample(form(question, choices), letter))
    return samples


def _listed(choices: list[str], separator: str) -> str:
    return separator.join(f"{a}.{b}" for a, b in zip(_LETTERS, choices, strict=True))


def _japanese(question: str, choices: list[str]) -> str:
    return f"質問：{question}\n選択肢：{_listed(choices, ',')}"


def _english(question: str, choices: list[str]) -> str:
    # "Qusetion" is what llm-jp-eval 1.3 writes.
    return f"Qusetion: {question}\nChoices: {_listed(choices, ', ')}"
