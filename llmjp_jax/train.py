"""Pre-training: python -m llmjp_jax.train --gin_file=gin_configs/quickstart.gin --gin.MODEL_DIR=runs/mine

The same command again goes on where the run stopped. --dry_run prints what the run would take.
"""

from llmjp_jax import launch

if __name__ == "__main__":
    launch.run(
        "llmjp_jax.training.train",
        description="Trains a language model, or goes on training it, as gin files say.",
        example="gin_configs/quickstart.gin",
        dry_run="llmjp_jax.training.plan.dry_run",
    )
