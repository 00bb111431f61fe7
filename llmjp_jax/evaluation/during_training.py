"""llm-jp-eval's tasks asked of a model while it is trained: few items, the scores go where the losses go."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.aggregation import categories
from llmjp_jax.evaluation.answers import answer_is_whole
from llmjp_jax.evaluation.asking import Asking, prompts_of
from llmjp_jax.evaluation.plan import plan_tasks
from llmjp_jax.evaluation.results import score_answers

if TYPE_CHECKING:
    from llmjp_jax.models import Decoder, ModelConfig
    from llmjp_jax.tokenizer import Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class DuringTraining:
    """What a run's model is asked (`training.EvaluationConfig.tasks`).

    Attributes:
      data_dir, tasks, split, shots, samples, template: as in `evaluate`; 'chat' is not one of the templates here.
      period: steps between; None: only after the last step.
      too_long, output_length, batch_size: see `Asking`.
    """

    data_dir: str
    tasks: str | Sequence[str]
    period: int | None = None
    split: str = "dev"
    shots: int = 4
    samples: int | None = 20
    template: str = "llm_jp_eval_1_3"
    too_long: str = "fewer_shots"
    output_length: int | None = None
    batch_size: int = 16

    def __post_init__(self):
        if self.period is not None and (type(self.period) is not int or self.period < 1):
            raise UserError(
                f"DuringTraining.period = {self.period!r} must be None or a whole number of at least 1"
            )

    def check(self, model: ModelConfig, vocabulary: Vocabulary) -> None:
        """Raises UserError where a task, a metric or a prompt is wrong."""
        for task in self._planned():
            if task.runs_code:
                raise UserError(f"{task.name} runs what the model wrote; it is not asked during training, leave it out")  # fmt: skip
            prompts_of(vocabulary, model.max_length, task, self._asking())

    def scores(self, decoder: Decoder, vocabulary: Vocabulary) -> dict[str, float]:
        """`{task}_{metric}`, the categories, and AVG."""
        from llmjp_jax.language_model import LanguageModel

        model = LanguageModel(decoder, vocabulary)
        found = {}
        for task in self._planned():
            prompts = prompts_of(vocabulary, decoder.config.max_length, task, self._asking())
            raws = model.generate(
                [list(prompt.ids) for prompt in prompts],
                max_new_tokens=self._asking().length_of(task),
                batch_size=self.batch_size,
                enough=answer_is_whole,
            )
            for metric, value in score_answers(task, raws).items():
                found[f"{task.name}_{metric}"] = value
        return found | categories(found)

    def _planned(self):
        return plan_tasks(self.data_dir, self.tasks, split=self.split, shots=self.shots, samples=self.samples, strict=True)[0]  # fmt: skip

    def _asking(self) -> Asking:
        return Asking(template=self.template, too_long=self.too_long, batch_size=self.batch_size, output_length=self.output_length)  # fmt: skip
