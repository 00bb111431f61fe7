"""What may be said and done: jcola, jblimp and commonsensemoralja, from raw files to samples.

Sources: llm-jp-eval v1.3.0, datasets/{jcola,jblimp}.py, and v1.4.1, jaster/commonsensemoralja.py.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import checked, csv_rows, field, json_lines
from llmjp_jax.evaluation.preparation.splitting import (
    Splits,
    few,
    generator,
    shuffled,
    with_own_test,
)
from llmjp_jax.evaluation.task_files import Sample

_LABELS = ("0", "1")


def prepare_jcola_in_domain(raw: Path) -> Splits:
    """The in-domain train, and its valid as test.

    Raises:
      UserError: as `json_lines`; a field is missing or a label unknown.
    """
    train = _jcola(raw / "in_domain_train-v1.0.json")
    return with_own_test(train, _jcola(raw / "in_domain_valid-v1.0.json"))


def prepare_jcola_out_of_domain(raw: Path) -> Splits:
    """The out-of-domain valid, split as a set of few samples [unsure: llm-jp-eval's general rule].

    Raises:
      UserError: as `json_lines`; a field is missing or a label unknown.
    """
    return few(shuffled(_jcola(raw / "out_of_domain_valid-v1.0.json")))


def prepare_jblimp(raw: Path) -> Splits:
    """Pairs of a good and a bad sentence, lettered by chance: 0 makes the good one `a` [unsure], 1 makes it `b`.

    Raises:
      UserError: as `json_lines`; a field is missing.
    """
    numbers = generator()
    samples = []
    for place, record in json_lines(raw / "validated_minimal_pairs.jsonl"):
        good = field(record, "good_sentence", str, place)
        bad = field(record, "bad_sentence", str, place)
        if numbers.randint(0, 1) == 0:
            samples.append(Sample(f"a: {good}\nb: {bad}", "a"))
        else:
            samples.append(Sample(f"a: {bad}\nb: {good}", "b"))
    return few(shuffled(samples, numbers))


def prepare_commonsensemoralja(raw: Path) -> Splits:
    """The data set's own train, val and test, each shuffled afresh.

    Raises:
      UserError: as `csv_rows`; the header is another, or a label is unknown.
    """
    return Splits(
        *(shuffled(_moral(raw / f"data_{split}.csv")) for split in ("train", "val", "test"))
    )


def _jcola(path: Path) -> list[Sample]:
    samples = []
    for place, record in json_lines(path):
        label = checked(str(field(record, "label", int, place)), _LABELS, "label", place)
        samples.append(Sample(field(record, "sentence", str, place), label))
    return samples


def _moral(path: Path) -> list[Sample]:
    rows = csv_rows(path, columns=3)
    place, header = next(rows, (f"{path}, line 1", []))
    if header[1:] != ["sent", "label"]:
        raise UserError(f"{place}: the header must be ',sent,label'; fetch the file again")
    return [
        Sample(f"文章：{sentence}", checked(label, _LABELS, "label", place))
        for place, (_, sentence, label) in rows
    ]
