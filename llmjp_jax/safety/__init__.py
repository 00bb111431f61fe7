"""Safety: how a model answers what wants care (AnswerCarefully), how toxic texts are, and social bias (JBBQ).

    read_answer_carefully, answer, judge_requests, judged_report        answers, and a judge's verdicts on them
    read_ratings, ratings_report                                        people's verdicts
    read_toxicity, train, ToxicityClassifier, Rate, rate_files          a classifier, and what share of texts it flags
    read_jbbq, select_questions, jbbq_prompts, score_report             accuracy and bias

Data sets, prompts and settings: `data/safety.toml`. The commands are `tools/safety.py`.
"""

import importlib

_MODULES = {
    "answer_carefully": ("Answering", "CarefulQuestion", "answer", "read_answer_carefully", "read_answers"),
    "human_ratings": ("Ratings", "ratings_report", "read_ratings"),
    "jbbq": ("BiasQuestion", "jbbq_files", "read_jbbq"),
    "jbbq_answers": ("generated", "jbbq_prompts", "likeliest"),
    "jbbq_scores": ("jbbq_scores", "parse_choice", "score_report"),
    "jbbq_split": ("select_questions",),
    "safety_judge": ("judge_requests", "judged_report", "parse_verdict"),
    "toxicity_classifier": ("ToxicityClassifier",),
    "toxicity_data": ("LabelledText", "read_toxicity"),
    "toxicity_rates": ("Rate", "rate_files"),
    "toxicity_training": ("train",),
}  # fmt: skip
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    # Lazy: the commands that read a file need no numpy, and none needs JAX before a model runs.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
