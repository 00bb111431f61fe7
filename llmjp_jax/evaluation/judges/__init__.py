"""Models that judge models: Japanese Vicuna QA and Japanese MT-Bench, and the client that the safety sets use too."""

from llmjp_jax.evaluation.judges.benchmarks import Benchmark, find_benchmark, load_benchmarks
from llmjp_jax.evaluation.judges.client import JudgeClient
from llmjp_jax.evaluation.judges.replies import ask_and_keep
from llmjp_jax.evaluation.judges.requests import (
    JudgeReply,
    JudgeRequest,
    read_replies,
    write_requests,
)

__all__ = [
    "Benchmark",
    "JudgeClient",
    "JudgeReply",
    "JudgeRequest",
    "ask_and_keep",
    "find_benchmark",
    "load_benchmarks",
    "read_replies",
    "write_requests",
]
