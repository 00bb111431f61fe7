"""Japanese Vicuna QA: two models' answers compared in both orders, or one model's marked; requests, and scores of the replies.

A comparison that cannot be read is left out and counted. compat='ja_vicuna_qa' is what the published program makes of the same
replies, where two such verdicts are a win of the model that comes second in the alphabet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.benchmarks import Benchmark
from llmjp_jax.evaluation.judges.records import Answers, JudgePrompt, Question, find_prompt
from llmjp_jax.evaluation.judges.requests import JudgeReply, JudgeRequest
from llmjp_jax.evaluation.judges.verdicts import (
    COMPAT,
    ERROR,
    published_rating,
    rating,
    verdict,
)

NO_REPLY = "no reply"


def pairwise_requests(benchmark: Benchmark, questions: Sequence[Question], answers: Answers, baseline: Answers,
                      prompts: Mapping[str, JudgePrompt]) -> list[JudgeRequest]:  # fmt: skip
    """Two requests a question, 'vicuna-ID-game1' and '…-game2': A is the first model by name, then the other.

    Raises:
      UserError: both are answers of one model, or a judge prompt is missing.
    """
    first, second = by_name(answers, baseline)
    requests = []
    for question in questions:
        prompt = find_prompt(prompts, benchmark.prompt_name("pairwise", question.category))
        for game, (a, b) in enumerate(((first, second), (second, first)), 1):
            fields = {
                "question": question.turns[0],
                "answer_a": a.turns[question.id][0],
                "answer_b": b.turns[question.id][0],
                **_reference(benchmark, question),
            }
            requests.append(_request(benchmark, f"vicuna-{question.id}-game{game}", prompt, fields))
    return requests


def single_requests(benchmark: Benchmark, questions: Sequence[Question], answers: Answers,
                    prompts: Mapping[str, JudgePrompt]) -> list[JudgeRequest]:  # fmt: skip
    """One request a question, 'vicuna-ID-single'.

    Raises:
      UserError: a judge prompt is missing.
    """
    requests = []
    for question in questions:
        prompt = find_prompt(prompts, benchmark.prompt_name("single", question.category))
        answer = answers.turns[question.id][0]
        fields = {"question": question.turns[0], "answer": answer, **_reference(benchmark, question)}  # fmt: skip
        requests.append(_request(benchmark, f"vicuna-{question.id}-single", prompt, fields))
    return requests


def by_name(answers: Answers, baseline: Answers) -> tuple[Answers, Answers]:
    """Both in the order of their models' names, model_1 and model_2 of the published judgments."""
    if answers.model == baseline.model:
        raise UserError(
            f"both files hold answers of {answers.model!r}; give the answers of two models"
        )
    return (answers, baseline) if answers.model < baseline.model else (baseline, answers)


def winner(text: str, game: int, pattern: str, compat: str | None = None) -> str:
    """'model_1', 'model_2', 'tie' or 'error' of game 1 (A is model_1) or game 2 (A is model_2)."""
    found = verdict(text, pattern, compat)
    models = {"A": "model_1", "B": "model_2"} if game == 1 else {"A": "model_2", "B": "model_1"}
    return models.get(found, found)


def outcome(winners: tuple[str, str], compat: str | None = None) -> str:
    """What two games come to: 'model_1', 'model_2', 'tie' or 'error'.

    A tie where either says so or they differ. 'error' where either cannot be read; compat='ja_vicuna_qa': an error is one more
    thing to differ in, and two errors are a win of model_2.
    """
    if compat != COMPAT and ERROR in winners:
        return ERROR
    if "tie" in winners or winners[0] != winners[1]:
        return "tie"
    return "model_1" if winners[0] == "model_1" else "model_2"


def win_rates(outcomes: Sequence[str], model: str = "model_1") -> dict[str, float | None]:
    """Shares of the comparisons that could be read; None where there is none.

    Returns:
      win_rate, tie_rate, and adjusted_win_rate = (wins + ties / 2) / comparisons.
    """
    read = [outcome for outcome in outcomes if outcome != ERROR]
    if not read:
        return dict.fromkeys(("adjusted_win_rate", "win_rate", "tie_rate"))
    wins, ties = read.count(model), read.count("tie")
    return {
        "adjusted_win_rate": (wins + 0.5 * ties) / len(read),
        "win_rate": wins / len(read),
        "tie_rate": ties / len(read),
    }


def score_pairwise(benchmark: Benchmark, questions: Sequence[Question], answers: Answers, baseline: Answers,
                   replies: Mapping[str, JudgeReply], origin: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """The contents of judges/vicuna.json: how often the judge prefers `answers` to `baseline`.

    Args:
      replies: by request id; a missing one is an error of its comparison.
      origin: provenance of the numbers.
    """
    first, _ = by_name(answers, baseline)
    tested, other = ("model_1", "model_2") if answers is first else ("model_2", "model_1")
    pattern = benchmark.judge.verdict
    items, outcomes, published = [], [], []
    for question in questions:
        judged = [_text(replies, f"vicuna-{question.id}-game{game}") for game in (1, 2)]
        texts = [text for text, _ in judged]
        winners = tuple(winner(text, game, pattern) for game, text in enumerate(texts, 1))
        outcomes.append(outcome(winners))
        by_program = tuple(winner(text, game, pattern, COMPAT) for game, text in enumerate(texts, 1))  # fmt: skip
        published.append(outcome(by_program, COMPAT))
        names = {tested: "model", other: "baseline"}
        items.append({
            "question_id": question.id, "category": question.category, "question": question.turns[0],
            "answer": answers.turns[question.id][0], "baseline_answer": baseline.turns[question.id][0],
            "verdicts": [names.get(found, found) for found in winners],
            "outcome": {tested: "win", other: "loss"}.get(outcomes[-1], outcomes[-1]),
            "compat_outcome": {tested: "win", other: "loss"}.get(published[-1], published[-1]),
            "judgments": texts, "errors": [error for _, error in judged],
        })  # fmt: skip
    categories = {}
    for category in benchmark.categories:
        chosen = [o for q, o in zip(questions, outcomes, strict=True) if q.category == category]
        rate = win_rates(chosen, tested)["adjusted_win_rate"]
        if rate is not None:
            categories[category] = rate
    found = [item["outcome"] for item in items]
    return {
        "kind": "vicuna",
        "provenance": dict(origin),
        "scores": win_rates(outcomes, tested),
        "compat": {"name": COMPAT, "scores": win_rates(published, tested)},
        "categories": categories,
        "counts": {
            "items": len(items), "scored": len(items) - found.count("error"), "errors": found.count("error"),
            "wins": found.count("win"), "ties": found.count("tie"), "losses": found.count("loss"),
            **_reply_counts(items),
        },
        "items": items,
    }  # fmt: skip


def score_single(benchmark: Benchmark, questions: Sequence[Question], answers: Answers,
                 replies: Mapping[str, JudgeReply], origin: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """The contents of judges/vicuna.json where the judge marked each answer by itself, 1 to 10.

    Answers without a readable mark are left out of the means; in compat a mark of -1 enters, and where the published program
    stops with an error compat's mean is None.
    """
    judge = benchmark.judge
    items, published = [], []
    for question in questions:
        text, error = _text(replies, f"vicuna-{question.id}-single")
        mark = rating(text, judge.rating, judge.lowest, judge.highest)
        try:
            published.append(published_rating(text, judge.rating))
        except SyntaxError:
            published.append(None)
        items.append({
            "question_id": question.id, "category": question.category, "question": question.turns[0],
            "answer": answers.turns[question.id][0], "rating": mark, "judgments": [text], "errors": [error],
        })  # fmt: skip
    marks = [item["rating"] for item in items]
    categories = {
        category: mean_of(i["rating"] for i in items if i["category"] == category)
        for category in benchmark.categories
    }
    compat = None if None in published else fmean(published)
    return {
        "kind": "vicuna",
        "provenance": dict(origin),
        "scores": {"average": mean_of(marks)},
        "compat": {"name": COMPAT, "scores": {"average": compat}},
        "categories": {name: mean for name, mean in categories.items() if mean is not None},
        "counts": {
            "items": len(items),
            "scored": len(items) - marks.count(None),
            "errors": marks.count(None),
            **_reply_counts(items),
        },
        "items": items,
    }


def mean_of(marks) -> float | None:
    """The mean of the marks that are there; None without any."""
    marks = [mark for mark in marks if mark is not None]
    return fmean(marks) if marks else None


def _reference(benchmark: Benchmark, question: Question) -> dict[str, str]:
    if question.category not in benchmark.reference_categories:
        return {}
    return {"ref_answer_1": question.reference[0]}


def _request(benchmark, id: str, prompt: JudgePrompt, fields: Mapping[str, str]) -> JudgeRequest:
    judge = benchmark.judge
    return JudgeRequest(id, prompt.messages(**fields), judge.temperature, judge.max_tokens)


def _text(replies: Mapping[str, JudgeReply], id: str) -> tuple[str, str | None]:
    """The judge's text, empty without one, and the error in its place."""
    reply = replies.get(id, JudgeReply(id, None, NO_REPLY))
    return reply.text or "", reply.error


def _reply_counts(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    errors = [error for item in items for error in item["errors"]]
    return {"replies": len(errors), "reply_errors": len(errors) - errors.count(None)}
