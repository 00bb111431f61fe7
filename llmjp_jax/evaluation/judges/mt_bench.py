"""Japanese MT-Bench: both turns of a conversation marked from 1 to 10; requests, and scores of the replies.

A turn without a readable mark is left out of every mean and counted, as in llm-jp-judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmjp_jax.evaluation.judges.benchmarks import Benchmark
from llmjp_jax.evaluation.judges.records import Answers, JudgePrompt, Question, find_prompt
from llmjp_jax.evaluation.judges.requests import JudgeReply, JudgeRequest
from llmjp_jax.evaluation.judges.verdicts import rating
from llmjp_jax.evaluation.judges.vicuna import NO_REPLY, mean_of


def requests_of(benchmark: Benchmark, questions: Sequence[Question], answers: Answers,
                prompts: Mapping[str, JudgePrompt]) -> list[JudgeRequest]:  # fmt: skip
    """Two requests a question, 'mt_bench-ID-turn1' and '…-turn2'; the second shows the whole conversation.

    Raises:
      UserError: a judge prompt is missing.
    """
    judge, requests = benchmark.judge, []
    for question in questions:
        for turn in (1, 2):
            name = benchmark.prompt_name("single", question.category, turn - 1)
            messages = find_prompt(prompts, name).messages(**_fields(question, answers, turn))
            id = f"mt_bench-{question.id}-turn{turn}"
            requests.append(JudgeRequest(id, messages, judge.temperature, judge.max_tokens))
    return requests


def _fields(question: Question, answers: Answers, turn: int) -> dict[str, str]:
    given = answers.turns[question.id]
    if turn == 1:
        fields = {"question": question.turns[0], "answer": given[0]}
    else:
        fields = {
            "question_1": question.turns[0],
            "answer_1": given[0],
            "question_2": question.turns[1],
            "answer_2": given[1],
        }
    references = zip(range(1, turn + 1), question.reference, strict=False)
    return fields | {f"ref_answer_{number}": text for number, text in references}


def score(benchmark: Benchmark, questions: Sequence[Question], answers: Answers, replies: Mapping[str, JudgeReply],
          origin: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """The contents of judges/mt_bench.json.

    Args:
      replies: by request id; a missing one is an error of its turn.
      origin: provenance of the numbers.

    Returns:
      scores: average (of all marks, not of the categories), turn_1 and turn_2; None without a mark. categories: of both turns.
    """
    judge = benchmark.judge
    items = []
    for question in questions:
        ids = [f"mt_bench-{question.id}-turn{turn}" for turn in (1, 2)]
        found = [replies.get(id, JudgeReply(id, None, NO_REPLY)) for id in ids]
        texts = [reply.text or "" for reply in found]
        items.append({
            "question_id": question.id, "category": question.category, "question": list(question.turns),
            "answer": list(answers.turns[question.id][:2]),
            "ratings": [rating(text, judge.rating, judge.lowest, judge.highest) for text in texts],
            "judgments": texts, "errors": [reply.error for reply in found],
        })  # fmt: skip
    marks = [mark for item in items for mark in item["ratings"]]
    categories = {
        name: mean_of(mark for item in items if item["category"] == name for mark in item["ratings"])
        for name in benchmark.categories
    }  # fmt: skip
    errors = [error for item in items for error in item["errors"]]
    return {
        "kind": "mt_bench",
        "provenance": dict(origin),
        "scores": {
            "average": mean_of(marks),
            "turn_1": mean_of(item["ratings"][0] for item in items),
            "turn_2": mean_of(item["ratings"][1] for item in items),
        },
        "categories": {name: mean for name, mean in categories.items() if mean is not None},
        "counts": {
            "items": len(items),
            "scored": len(marks) - marks.count(None),
            "errors": marks.count(None),
            "replies": len(errors),
            "reply_errors": len(errors) - errors.count(None),
        },
        "items": items,
    }
