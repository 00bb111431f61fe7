"""Metrics: parsed answers and gold ones in, a score out, in a sound version and as llm-jp-eval 1.3 computes it.

`score(name, predictions, golds)` gives the sound value, `compat=COMPAT` that of the reference, faults included;
`METRICS[name].note` says how they differ. Nothing is downloaded or imported for a metric before it is asked for.
"""

from llmjp_jax.evaluation.metrics.correlation import parse_float, parse_number
from llmjp_jax.evaluation.metrics.registry import (
    COMPAT,
    METRICS,
    Metric,
    check_compat,
    find_metric,
    score,
)
from llmjp_jax.evaluation.metrics.scores import MetricUnavailable, ReferenceStops, Score

__all__ = [
    "COMPAT",
    "METRICS",
    "Metric",
    "MetricUnavailable",
    "ReferenceStops",
    "Score",
    "check_compat",
    "find_metric",
    "parse_float",
    "parse_number",
    "score",
]
