"""Sample answers: for each task a few that the first run has right and a few that it has wrong, with those of the other runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, element, folded, join
from llmjp_jax.corpus.pipeline.report_quantities import count, counted
from llmjp_jax.evaluation.report import words
from llmjp_jax.evaluation.report.bootstrap import is_cheap
from llmjp_jax.evaluation.report.pictures import badge
from llmjp_jax.evaluation.report.runs import Item, Run, TaskResult

EACH = 2  # right and wrong answers of a task
RIGHT, WRONG = 1.0, 0.5  # a score from and below which an answer is right and wrong

_LONGEST = {"input": 1200, "answer": 800, "prompt": 8000}  # characters that are shown
_SIGNS = {"right": "✓ right", "wrong": "✗ wrong", "highest": "highest", "lowest": "lowest"}
_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


@dataclasses.dataclass(frozen=True)
class Sample:
    """One question with what each run answered; None for a run that was not asked it.

    Attributes:
      verdict: 'right' or 'wrong' by the first run's score; 'highest' or 'lowest' of a metric that is no matter of right and
        wrong (COMET); '' where items have no scores.
    """

    task: str
    metric: str | None
    verdict: str
    item: Item
    answers: tuple[Item | None, ...]


def choose(runs: Sequence[Run], each: int = EACH) -> dict[str, list[Sample]]:
    """Samples by task, spread evenly over the items, the same for the same runs.

    Args:
      each: right and wrong ones of a task; of a task whose items have no scores twice as many plain ones.
    """
    chosen: dict[str, list[Sample]] = {}
    names = dict.fromkeys(name for run in runs for name in run.tasks)
    for name in names:
        result = next(run.tasks[name] for run in runs if name in run.tasks)
        metric = next((m for m in result.metrics if result.items and all(m in item.scores for item in result.items)), None)  # fmt: skip
        groups: dict[str, list[Item]] = {}
        if metric is None:
            groups[""] = _spread(result.items, 2 * each)
        else:
            groups = _groups(result.items, metric, each)
        chosen[name] = [
            Sample(name, metric, verdict, item, tuple(_same(run.tasks.get(name), item) for run in runs))
            for verdict, items in groups.items() for item in items
        ]  # fmt: skip
    return {name: samples for name, samples in chosen.items() if samples}


def _groups(items: Sequence[Item], metric: str, each: int) -> dict[str, list[Item]]:
    if not is_cheap(metric) and len({item.scores[metric] for item in items}) > 2:
        ordered = sorted(items, key=lambda item: (-item.scores[metric], item.index))
        return {"highest": ordered[:each], "lowest": ordered[each:][-each:]}
    scale = 100.0 if metric.startswith(("bleu", "chrf")) else 1.0
    right = [item for item in items if item.scores[metric] / scale >= RIGHT]
    wrong = [item for item in items if item.scores[metric] / scale < WRONG]
    return {"right": _spread(right, each), "wrong": _spread(wrong, each)}


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    if len(items) <= most:
        return list(items)
    return [items[(2 * place + 1) * len(items) // (2 * most)] for place in range(most)]


def _same(result: TaskResult | None, item: Item) -> Item | None:
    """The run's answer to the same question."""
    for other in result.items if result else ():
        if (other.index, other.input, other.gold) == (item.index, item.input, item.gold):
            return other
    return None


def cut(text: str, kind: str) -> str:
    """`text` with a word on its length where it is longer than is shown; `kind` is input, answer or prompt."""
    longest = _LONGEST[kind]
    return text if len(text) <= longest else f"{text[:longest]}… ({count(len(text))} characters)"


def samples_section(runs: Sequence[Run], each: int) -> Markup:
    chosen = choose(runs, each) if each else {}
    if not chosen:
        return Markup("")
    by_score = "Right and wrong are by the first run's score" if len(runs) > 1 else "Right and wrong are by score"  # fmt: skip
    said = f"{by_score}: {RIGHT:g}, and below {WRONG:g}. The models' text is shown as it came."
    parts = [_task(name, samples, runs) for name, samples in chosen.items()]
    return element(
        "section", element("h2", "Sample answers", id="samples"), element("p", said, class_="muted"), *parts,
        aria_labelledby="samples",
    )  # fmt: skip


def _task(name: str, samples: Sequence[Sample], runs: Sequence[Run]) -> Markup:
    counts = [counted(n, "answer") if not verdict else f"{n} {verdict}" for verdict in (*_SIGNS, "")
              if (n := sum(sample.verdict == verdict for sample in samples))]  # fmt: skip
    summary = join([element("code", name), " ", element("span", " · ".join(counts), class_="muted")])  # fmt: skip
    return folded(summary, *(_sample(sample, runs) for sample in samples), class_="task")


def _sample(sample: Sample, runs: Sequence[Run]) -> Markup:
    sign = _SIGNS.get(sample.verdict, "")
    caption = [f"Item {sample.item.index}"]
    if sign:
        caption += [" · ", element("span", sign, class_=f"verdict {sample.verdict}")]
    rows = [element("dt", "gold"), element("dd", _text(sample.item.gold, "answer"))]
    prompts: dict[str, list[str]] = {}
    for place, answer in enumerate(sample.answers):
        if answer is None:
            continue
        term = [badge(str(place + 1), place)] if len(runs) > 1 else ["answer"]
        score = answer.scores.get(sample.metric) if sample.metric else None
        digits = 1 if (sample.metric or "").startswith(("bleu", "chrf")) else 3
        parts = [_text(answer.raw, "answer")]
        if answer.prediction != answer.raw.strip():
            parts.append(element("small", "scored as: ", element("q", cut(answer.prediction, "answer"))))  # fmt: skip
        if score is not None:
            parts.append(element("small", f"{sample.metric} {words.score(score, digits)}"))
        rows += [element("dt", *term), element("dd", *parts)]
        prompts.setdefault(answer.prompt, []).append(str(place + 1))
    folded_prompts = [
        folded("Prompt" + (f" of {', '.join(who)}" if len(prompts) > 1 else ""), element("pre", cut(prompt, "prompt"), lang=language(prompt), dir="auto"))
        for prompt, who in prompts.items() if prompt
    ]  # fmt: skip
    return element(
        "figure", element("figcaption", *caption), _text(sample.item.input, "input"), element("dl", *rows, class_="answers"),
        *folded_prompts, class_="sample",
    )  # fmt: skip


def _text(text: str, kind: str) -> Markup:
    if not text.strip():
        return element("blockquote", element("i", "only white space" if text else "an empty text"))
    return element("blockquote", cut(text, kind), lang=language(text), dir="auto")


def language(text: str) -> str | None:
    """Japanese shapes of Han characters, and the voice that reads them, where a text has Japanese in it."""
    return "ja" if _JAPANESE.search(text) else None
