"""A base model becomes one that answers: DPO for the training loop, and the strings and weights that SFT trains on.

In: parameters and batches of `training`, records of `conversations`. SFT is the loop's own token loss over examples
(`inputs.Examples`); LoRA is a part of the model's description (`models.LoraConfig`).
"""

from llmjp_jax.conversations import masks, templates
from llmjp_jax.posttraining.dpo import DPO

__all__ = ["DPO", "masks", "templates"]
