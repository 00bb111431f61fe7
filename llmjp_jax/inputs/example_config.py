"""How examples for tuning are read and put into rows: `ExamplesConfig`, with what follows from it for a sequence length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmjp_jax.conversations import get_template
from llmjp_jax.errors import UserError
from llmjp_jax.inputs.example_items import Limits

Files = str | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig:
    """How a run reads its examples, or its pairs of a chosen and a rejected response.

    Attributes:
      packing: several examples in a row, kept apart by segment ids; False: one in a row, filled up.
      max_length: longest sequence in tokens, its end token included; None: sequence_length, or half of it for each
        response of a pair.
      max_prompt_length: what a pair's prompt keeps when the pair is too long (TRL's name); None: half of max_length.
      buckets: without packing, the lengths that rows may have, rising; a batch has the smallest that holds it. None:
        an eighth, a quarter, a half and the whole of sequence_length.
      train_files, validation_files: one's own JSON lines, as paths or patterns such as `data/*.jsonl`, in place of a
        Task or Mixture; None: none.
      template: the prompt's (`conversations.TEMPLATES`); None takes stores of any template.
      bos: whether sequences from one's own files begin with the vocabulary's begin token.
    """

    packing: bool = True
    max_length: int | None = None
    max_prompt_length: int | None = None
    buckets: Sequence[int] | None = None
    train_files: Files | None = None
    validation_files: Files | None = None
    template: str | None = "v1.1"
    bos: bool = False

    def __post_init__(self):
        for field in ("packing", "bos"):
            if type(getattr(self, field)) is not bool:
                raise UserError(
                    f"ExamplesConfig.{field} = {getattr(self, field)!r} must be True or False"
                )
        for field, least in (("max_length", 2), ("max_prompt_length", 1)):
            value = getattr(self, field)
            if value is not None and (type(value) is not int or value < least):
                raise UserError(
                    f"ExamplesConfig.{field} = {value!r} must be None or a whole number of at least {least}"
                )
        self._check_buckets()
        for field in ("train_files", "validation_files"):
            object.__setattr__(self, field, _checked_files(field, getattr(self, field)))
        if self.template is not None:
            get_template(self.template)
        elif self.train_files or self.validation_files:
            raise UserError(
                "ExamplesConfig.template is None; one's own files need the name of a template"
            )

    def _check_buckets(self) -> None:
        if self.buckets is None:
            return
        usable = isinstance(self.buckets, Sequence) and bool(self.buckets)
        usable = usable and all(type(bucket) is int and bucket > 0 for bucket in self.buckets)
        if not usable or list(self.buckets) != sorted(set(self.buckets)):
            raise UserError(
                f"ExamplesConfig.buckets = {self.buckets!r} must be rising whole numbers, such as (256, 512, 1024, 2048)"
            )
        if self.packing:
            raise UserError(
                f"ExamplesConfig.buckets = {self.buckets!r} are for padded rows; set packing = False or leave them out"
            )
        object.__setattr__(self, "buckets", tuple(self.buckets))

    def limits(self, sequence_length: int, pairs: bool) -> Limits:
        """The longest sequences of a run whose rows have `sequence_length` slots.

        Raises:
          UserError: they do not fit into a row.
        """
        sequences = 2 if pairs else 1
        # n tokens take n - 1 slots: the last one is only a target.
        longest = sequence_length // sequences + 1
        max_length = self.max_length or max(sequence_length // sequences, 2)
        if max_length > longest:
            of = "both sequences of a pair" if pairs else "an example"
            raise UserError(
                f"ExamplesConfig.max_length = {max_length} is too long for rows of sequence_length = {sequence_length}, "
                f"which hold {of} up to {longest} tokens; shorten it or lengthen the rows"
            )
        if not pairs:
            return Limits(max_length, None)
        max_prompt_length = self.max_prompt_length or max_length // 2
        if max_prompt_length >= max_length:
            raise UserError(
                f"ExamplesConfig.max_prompt_length = {max_prompt_length} must be less than max_length = {max_length}, "
                "or no response is left"
            )
        return Limits(max_length, max_prompt_length)

    def row_lengths(self, sequence_length: int) -> tuple[int, ...]:
        """The lengths of padded rows.

        Raises:
          UserError: a bucket is longer than a row.
        """
        if self.buckets is None:
            return tuple(
                sorted({length for part in (8, 4, 2, 1) if (length := sequence_length // part)})
            )
        if self.buckets[-1] > sequence_length:
            raise UserError(
                f"ExamplesConfig.buckets = {self.buckets!r} has rows longer than sequence_length = {sequence_length}; "
                "leave them out or lengthen it"
            )
        return self.buckets


def _checked_files(field: str, files: Files | None) -> tuple[str, ...] | None:
    if files is None:
        return None
    files = (files,) if isinstance(files, str) else files
    if not isinstance(files, Sequence) or not files or not all(type(f) is str and f for f in files):
        raise UserError(
            f"ExamplesConfig.{field} = {files!r} must be a path or pattern, or several of them"
        )
    return tuple(files)
