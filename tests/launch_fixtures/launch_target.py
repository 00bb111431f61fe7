"""What the tests of launching configure with gin: a miniature of models, data and a training function."""

import dataclasses
import threading
from typing import Any

from llmjp_jax.errors import UserError

SIZES = {"tiny": 8}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    embed: int
    heads: int = 4
    axes: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.embed % self.heads:
            raise UserError(f"embed={self.embed} is not a multiple of heads={self.heads}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    split: str = "train"
    seed: int = 0


def schedule(step: int, peak: float = 1.0) -> float:
    if peak < 0:
        raise UserError(f"peak={peak} must not be negative")
    return step * peak


def adamw(decay: float | str = 0.1) -> str:
    return f"adamw {decay}"


def adafactor(decay_rate: float = 0.8) -> str:
    return f"adafactor {decay_rate}"


def train(
    *,
    model_dir: str,
    model: Model,
    steps: int = 10,
    data: Any = None,
    validation: Any = None,
    optimizer: Any = None,
    schedule: Any = None,
    operative_config: Any = None,
) -> dict:
    return dict(locals())


def dry_run(**arguments) -> None:
    print("would train", arguments["steps"], "steps with", arguments["model"])


def fail(*, model_dir: str, model: Model) -> None:
    """A defect that leaves a thread behind, as data loaders and checkpoint writers do."""
    threading.Thread(target=threading.Event().wait).start()
    raise RuntimeError(f"defect in {model_dir}")


def meet(*, model_dir: str) -> None:
    import jax

    print("process", jax.process_index(), "of", jax.process_count())
