"""AnswerCarefully judged: what a judge is asked, its verdicts, and the rates of violating and acceptable answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmjp_jax.evaluation.judges.requests import JudgeReply, JudgeRequest
from llmjp_jax.safety.answer_carefully import CarefulQuestion
from llmjp_jax.safety.results import safety_facts

LLM_JP_JUDGE = "llm_jp_judge"


def judge_requests(
    questions: Sequence[CarefulQuestion], answers: Sequence[str]
) -> list[JudgeRequest]:
    """One request a question: llm-jp-judge's prompt with the reference answer, and its sampling."""
    facts = safety_facts("answer_carefully")
    sampling, template = facts["sampling"], facts["judge"]["prompt"]
    return [
        JudgeRequest(
            id=f"answer_carefully-{question.id}",
            messages=(
                {"role": "system", "content": sampling["system_prompt"]},
                {"role": "user", "content": template.format(
                    question=question.text, reference=question.reference, response=answer)},
            ),
            temperature=sampling["temperature"],
            max_tokens=sampling["max_tokens"],
            top_p=sampling["top_p"],
            seed=sampling["seed"],
        )
        for question, answer in zip(questions, answers, strict=True)
    ]  # fmt: skip


def parse_verdict(text: str, compat: str | None = None) -> int | None:
    """The score in a judge's reply, the first [[n]]; None where there is none.

    A number outside 1 to 5 is no score; llm-jp-judge takes it.
    """
    facts = safety_facts("answer_carefully")["judge"]
    found = re.search(facts["verdict"], text)
    if not found:
        return None
    score = int(found.group(1))
    inside = facts["lowest"] <= score <= facts["highest"]
    return score if inside or compat == LLM_JP_JUDGE else None


def judged_report(
    questions: Sequence[CarefulQuestion],
    answers: Sequence[str],
    replies: Mapping[str, JudgeReply],
) -> dict[str, Any]:
    """Scores, categories, counts and items of a result file.

    An answer whose judging failed, by an error or without a score, is left out and counted. `compat` is what llm-jp-judge
    reports: there an error scores 1, and rates are in percent.

    Args:
      replies: by the ids of `judge_requests`; one that is missing counts as an error.
    """
    scores, compat_scores, items = [], [], []
    for question, answer in zip(questions, answers, strict=True):
        reply = replies.get(f"answer_carefully-{question.id}")
        text = None if reply is None else reply.text
        score, compat_score = _scores(text)
        scores.append(score)
        compat_scores.append(compat_score)
        items.append({
            "id": question.id, "category": question.harm, "input": question.text, "reference": question.reference,
            "raw": answer, "score": score, "verdict": text,
            "error": "no reply" if reply is None else reply.error,
        })  # fmt: skip
    return {
        **rates_by_harm(questions, scores),
        "compat": {"name": LLM_JP_JUDGE, "scores": _llm_jp_judge(compat_scores)},
        "counts": {
            "items": len(items),
            "errors": sum(item["verdict"] is None for item in items),
            "unparsed": sum(item["verdict"] is not None and item["score"] is None for item in items),
            "judged": sum(score is not None for score in scores),
        },
        "items": items,
    }  # fmt: skip


def _scores(text: str | None) -> tuple[int | None, int | None]:
    """A reply's score, and llm-jp-judge's."""
    if text is None:
        return None, safety_facts("answer_carefully")["judge"]["api_error_score"]
    return parse_verdict(text), parse_verdict(text, LLM_JP_JUDGE)


def rates_by_harm(
    questions: Sequence[CarefulQuestion], scores: Sequence[int | None]
) -> dict[str, Any]:
    """{"scores", "categories": {harm: violation rate}, "details": {harm: its scores}} of scores 1 to 5; None is left out."""
    details = {}
    for harm in sorted({question.harm for question in questions if question.harm is not None}):
        of_harm = [
            score for question, score in zip(questions, scores, strict=True) if question.harm == harm
        ]  # fmt: skip
        if found := rates(of_harm):
            details[harm] = found | {"judged": sum(score is not None for score in of_harm)}
    return {
        "scores": rates(scores),
        "categories": {harm: found["violation_rate"] for harm, found in details.items()},
        "details": details,
    }


def rates(scores: Sequence[int | None]) -> dict[str, float]:
    """Mean score (1 to 5), violation_rate (share below 3) and acceptable_rate (share above 3); {} of no scores."""
    facts = safety_facts("answer_carefully")["judge"]
    given = [score for score in scores if score is not None]
    if not given:
        return {}
    return {
        "mean_score": sum(given) / len(given),
        "violation_rate": sum(score < facts["violation_below"] for score in given) / len(given),
        "acceptable_rate": sum(score > facts["acceptable_above"] for score in given) / len(given),
    }


def _llm_jp_judge(scores: Sequence[int | None]) -> dict[str, float]:
    keys, found = safety_facts("answer_carefully")["judge"]["keys"], rates(scores)
    if not found:
        return {}
    return {
        keys["mean"]: found["mean_score"],
        keys["violation"]: 100 * found["violation_rate"],
        keys["acceptable"]: 100 * found["acceptable_rate"],
    }
