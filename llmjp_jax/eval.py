"""Scores on llm-jp-eval's tasks: python -m llmjp_jax.eval --gin_file=gin_configs/runs/eval.gin --gin.MODEL_DIR=runs/mine
    --gin.DATA_DIR=evaluation --gin.OUTPUT_DIR=runs/mine/evaluation

The same command again goes on where the evaluation stopped. From Python: `evaluation.evaluate(model_dir=..., ...)`.
"""

from llmjp_jax import launch

if __name__ == "__main__":
    launch.run(
        "llmjp_jax.evaluation.evaluate",
        description="Evaluates a language model on llm-jp-eval's tasks, as gin files say.",
        example="gin_configs/runs/eval.gin",
        macros={"MODEL_DIR": "runs/first", "DATA_DIR": "evaluation", "OUTPUT_DIR": "runs/first/evaluation"},
        processes=False,
    )  # fmt: skip
