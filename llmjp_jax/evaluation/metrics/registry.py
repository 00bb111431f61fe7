"""The metrics by name, and scoring with one of them. What a metric computes is in the other files here."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import statistics
from collections.abc import Callable, Sequence

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import correlation, matching, ngrams
from llmjp_jax.evaluation.metrics.scores import MetricUnavailable, Score, mean_of

COMPAT = "llm_jp_eval_1_3"
Scorer = Callable[[Sequence[str], Sequence[str], Sequence[str] | None], Score]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """How answers are compared with gold ones.

    Attributes:
      name: as in llm-jp-eval's task files.
      description: what it is, and its range.
      sound: of (predictions, golds, inputs).
      reference: the same as llm-jp-eval 1.3 has it; None where that is the same.
      note: one sentence, how the two differ; '' where they do not.
      needs_inputs: what was asked is needed as well.
      runs_code: runs what the model wrote, so that the caller has to allow it, and answers are code (`parse_code`).
    """

    name: str
    description: str
    sound: Scorer
    reference: Scorer | None = None
    note: str = ""
    needs_inputs: bool = False
    runs_code: bool = False

    def __post_init__(self):
        if (self.reference is None) == bool(self.note):
            raise UserError(
                f"note = {self.note!r} of {self.name} must say how its reference differs, and be '' without one"
            )


def _mathematical_equivalence(predictions, golds, inputs) -> Score:
    from llmjp_jax.evaluation.metrics.arithmetic import equivalent

    return mean_of(equivalent)(predictions, golds, inputs)


def _code_exec(predictions, golds, inputs) -> Score:
    from llmjp_jax.evaluation.sandbox import run_many

    del inputs
    runs = run_many(zip(predictions, golds, strict=True))
    items = tuple(float(run.passed) for run in runs)
    return Score(statistics.fmean(items), items)


def _bert_score(predictions, golds, inputs, *, language: str) -> Score:
    from llmjp_jax.evaluation.metrics import learned

    del inputs
    items = learned.bert_score(predictions, golds, language)
    return Score(statistics.fmean(items), tuple(items))


def _comet(predictions, golds, inputs) -> Score:
    from llmjp_jax.evaluation.metrics import learned

    items = learned.comet(inputs, predictions, golds)
    return Score(statistics.fmean(items), tuple(items))


_BLEU_NOTE = (
    "Corpus BLEU of sacreBLEU over words ({tokenizer}); llm-jp-eval 1.3 compares texts character by character, place by place, "
    "and stops at an empty one."
)
_CORRELATION_NOTE = (
    "Numbers keep minus sign, exponent and thousands' commas, and an answer without one stands as the mean of the others; "
    "llm-jp-eval 1.3 reads digits and points alone, and such an answer as -2."
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="exact_match",
            description="share of answers equal to the gold one, 0 to 1",
            sound=mean_of(matching.exact_match),
        ),
        Metric(
            name="char_f1",
            description="mean F1 of characters in common order, words sorted, 0 to 1",
            sound=mean_of(matching.char_f1),
            reference=mean_of(matching.reference_char_f1),
            note=(
                "Letters with accents count, nothing is rounded, and of texts of punctuation alone only equal ones agree; "
                "llm-jp-eval 1.3 deletes U+0080 to U+00FF and rounds each item to hundredths."
            ),
        ),
        Metric(
            name="set_f1",
            description="mean F1 of the lines as sets, 0 to 1",
            sound=mean_of(matching.set_f1),
            reference=mean_of(matching.reference_set_f1),
            note=(
                "Lines are a set on both sides and empty ones are none; llm-jp-eval 1.3 wants a gold line that stands twice "
                "twice, and counts empty lines."
            ),
        ),
        Metric(
            name="pearson",
            description="Pearson's correlation of the numbers answered, -1 to 1",
            sound=correlation.pearson,
            reference=correlation.reference_pearson,
            note=_CORRELATION_NOTE,
        ),
        Metric(
            name="spearman",
            description="Spearman's correlation of the numbers answered, -1 to 1",
            sound=correlation.spearman,
            reference=correlation.reference_spearman,
            note=_CORRELATION_NOTE,
        ),
        *(
            Metric(
                name=f"bleu_{language}",
                description=f"corpus BLEU of {'English' if language == 'en' else 'Japanese'} answers, 0 to 100",
                sound=functools.partial(ngrams.bleu, language=language),
                reference=mean_of(ngrams.reference_bleu),
                note=_BLEU_NOTE.format(tokenizer=tokenizer),
            )
            for language, tokenizer in (("en", "13a"), ("ja", "ja-mecab"))
        ),
        Metric(name="chrf", description="corpus chrF2 of sacreBLEU, 0 to 100", sound=ngrams.chrf),
        *(
            Metric(
                name=f"rouge{order}",
                description=f"mean ROUGE-{order} as F1, words by MeCab where they are Japanese, 0 to 1",
                sound=mean_of(ngrams.rouge(order)),
            )
            for order in (1, 2)
        ),
        *(
            Metric(
                name=f"bert_score_{language}_f1",
                description="mean F1 of bert_score with its default model of the language",
                sound=functools.partial(_bert_score, language=language),
            )
            for language in ("en", "ja")
        ),
        Metric(
            name="comet_wmt22",
            description="mean of Unbabel/wmt22-comet-da",
            sound=_comet,
            needs_inputs=True,
        ),
        Metric(
            name="mathematical_equivalence",
            description="share of answers whose value is that of the gold one, 0 to 1",
            sound=_mathematical_equivalence,
        ),
        Metric(
            name="code_exec",
            description="share of programs that pass their tests, 0 to 1",
            sound=_code_exec,
            runs_code=True,
        ),
    )
}


def find_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
      UserError: there is none; it says the nearest name.
    """
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(str(name), METRICS, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}?" if near else "take one of them"
    raise UserError(f"there is no metric {name!r} among {', '.join(METRICS)}; {hint}")


def score(metric: str, predictions: Sequence[str], golds: Sequence[str], *, inputs: Sequence[str] | None = None,
          compat: str | None = None, run_code: bool = False) -> Score:  # fmt: skip
    """The value of a metric.

        score("set_f1", ["A\\nB"], ["A\\nC"]) = Score(0.5, items=(0.5,))

    Args:
      predictions, golds: one a sample, parsed by `answers.py` with the same `compat`.
      inputs: what was asked, for metrics with `needs_inputs`.
      compat: None for the sound version, COMPAT for that of llm-jp-eval 1.3.
      run_code: allows metrics with `runs_code`.

    Raises:
      UserError: no such metric or version; no samples, or not as many predictions as golds; a gold answer that the metric
        cannot read.
      MetricUnavailable: a package is missing, or running code is not allowed.
      ReferenceStops: llm-jp-eval 1.3 itself ends with an exception here.
    """
    found = find_metric(metric)
    check_compat(compat)
    if not golds or len(predictions) != len(golds):
        raise UserError(
            f"{metric} compares {len(predictions)} predictions with {len(golds)} gold answers; give as many of both, and one at least"
        )
    if found.needs_inputs and (inputs is None or len(inputs) != len(golds)):
        raise UserError(f"{metric} needs one input a sample; give inputs with {len(golds)} texts")
    if found.runs_code and not run_code:
        raise MetricUnavailable(f"{metric} runs what the model wrote, which is not allowed; allow it with run_code=True")  # fmt: skip
    scorer = found.reference if compat and found.reference else found.sound
    return scorer(predictions, golds, inputs)


def check_compat(compat: str | None) -> None:
    """Raises UserError unless `compat` names a version."""
    if compat not in (None, COMPAT):
        raise UserError(f"compat = {compat!r} must be None (the sound version) or {COMPAT!r}")
