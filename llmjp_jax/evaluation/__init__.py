"""Evaluation: a model and tasks in, scores out, as llm-jp-eval counts them.

`evaluate(model_dir=..., data_dir=..., output_dir=...)` asks a model the tasks that `tools/prepare_evaluation.py` made and writes
answers, scores and a summary; `DuringTraining` asks a run's model. `metrics`, `prompts`, `tasks`, `judges` and `report` are doors
of their own. Imports neither JAX nor a metric's packages before they are needed.
"""

from llmjp_jax.evaluation.during_training import DuringTraining
from llmjp_jax.evaluation.run import evaluate

__all__ = ["DuringTraining", "evaluate"]
