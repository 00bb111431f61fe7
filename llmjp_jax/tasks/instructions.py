"""Records of instructions and responses, or of preferences, as SeqIO Tasks: LLM-jp's tuning sets, and a user's own JSON lines.

    register_instruction_task("mine", {"train": "mine.jsonl"}, vocabulary, "v1.1")

An example has `targets`, the ids of a whole conversation, and `loss_weights`, 1 where an id belongs to a response:

    ... ### 応答 : \\n 富士山 です 。 <EOD>
          0  0   0  0   1      1   1    1

A pair has both for `chosen` and `rejected`. `inputs.build` makes stores of the same ids and weights, on all cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import seqio

from llmjp_jax.conversations import Encoded, Pair, encode, encode_pair, get_template, read_records
from llmjp_jax.corpus.tunings import Tuning
from llmjp_jax.errors import UserError
from llmjp_jax.tasks.registry import add_task, register_mixture
from llmjp_jax.tokenizer import Vocabulary

KINDS = ("examples", "pairs")
Files = str | os.PathLike | Sequence[str | os.PathLike]


class RecordSource(seqio.DataSource):
    """Records of JSON-lines files, tokenised, as examples `{"targets", "loss_weights"}` or pairs of these.

    The source tokenises, and not a preprocessor, because a response is found by its place in the text, which ids do not
    tell. Records without a response are passed over; their number is in the manifest of a store.

    Args:
      files: for each split, one path or several; see `conversations.read_records`. They are looked for when they are read.
      vocabulary: from `load_vocabulary`.
      template: the name of one of `conversations.TEMPLATES`.
      kind: 'examples' or 'pairs'.
      bos: whether every sequence begins with the vocabulary's begin token.

    Raises:
      UserError: there is no such template or kind.
    """

    def __init__(
        self,
        files: Mapping[str, Files],
        vocabulary: Vocabulary,
        template: str,
        kind: str = "examples",
        bos: bool = False,
    ):
        if kind not in KINDS:
            raise UserError(f"kind = {kind!r} must be one of {', '.join(KINDS)}")
        get_template(template)
        self.vocabulary, self.template, self.kind, self.bos = vocabulary, template, kind, bos
        self._files = {
            split: tuple(
                str(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)
            )
            for split, paths in files.items()
        }
        super().__init__(splits=self._files)

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """The files of a split, in order."""
        return self._files[split]

    @property
    def features(self) -> dict[str, seqio.Feature]:
        """What an example has: SeqIO's `output_features`."""
        import tensorflow as tf

        weights = seqio.PassThroughVocabulary(size=2)
        return {
            name: seqio.Feature(vocabulary=weights, add_eos=False, dtype=tf.uint8)
            if name.endswith("loss_weights")
            else seqio.Feature(vocabulary=self.vocabulary, add_eos=False, dtype=tf.int32)
            for name in _feature_names(self.kind)
        }

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        *,
        sequence_length: Mapping[str, int]
        | None = None,  # SeqIO passes these three to every source
        use_cached: bool = False,
        num_epochs: int | None = 1,
    ):
        """The examples as a tf.data.Dataset; `shuffle` permutes the files, SeqIO the examples."""
        import tensorflow as tf

        files = list(self.list_shards(split))
        if shard_info:
            files = files[shard_info.index :: shard_info.num_shards]
        if shuffle:
            np.random.default_rng(seed).shuffle(files)
        signature = {
            name: tf.TensorSpec([None], feature.dtype) for name, feature in self.features.items()
        }
        return tf.data.Dataset.from_generator(
            lambda: self._examples(files), output_signature=signature
        )

    def _examples(self, files: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        names = _feature_names(self.kind)
        for path in files:
            for number, _, record in read_records(path):
                place = f"{Path(path)}, record {number}"
                sequences = self._encoded(record, place)
                if all(sequence.weights[1:].any() for sequence in sequences):
                    arrays = [array for each in sequences for array in (each.ids, each.weights)]
                    yield dict(zip(names, arrays, strict=True))

    def _encoded(self, record, place: str) -> tuple[Encoded, ...]:
        template = get_template(self.template)
        if isinstance(record, Pair) != (self.kind == "pairs"):
            found = "a pair of chosen and rejected" if isinstance(record, Pair) else "no pair of chosen and rejected"  # fmt: skip
            raise UserError(f"{place} is {found}, and the Task is of {self.kind}; give it such records alone")  # fmt: skip
        if isinstance(record, Pair):
            return encode_pair(self.vocabulary, record, template, bos=self.bos)
        return (encode(self.vocabulary, record, template, bos=self.bos),)


def register_instruction_task(
    name: str,
    files: Mapping[str, Files],
    vocabulary: Vocabulary,
    template: str,
    *,
    kind: str = "examples",
    bos: bool = False,
) -> seqio.Task:
    """Registers a Task of records of instructions and responses, or of preferences.

    Registering a name again replaces it, so that a notebook's cell can run twice.

    Args:
      name: letters, digits, `_`, `.`, `:`.
      files, vocabulary, template, kind, bos: as `RecordSource`'s.

    Raises:
      UserError: as `RecordSource`; the name belongs to a Task or Mixture registered elsewhere, or SeqIO refuses it.
    """
    source = RecordSource(files, vocabulary, template, kind, bos)
    return add_task(name, source=source, preprocessors=[], output_features=source.features)


def register_tuning(
    tuning: Tuning,
    files: Mapping[str, Mapping[str, Files]],
    vocabulary: Vocabulary,
    template: str | None = None,
) -> seqio.Mixture:
    """Registers a manifest's tuning, and a Task for each of its sets.

    SeqIO draws examples at rates of the repeats; `inputs.Examples` reads each set as often as its repeat says.

    Args:
      tuning: from `load_tuning`.
      files: by set and split, from `prepare_tuning_set`.
      vocabulary: of every Task.
      template: None: the tuning's.

    Raises:
      UserError: there is no such template.
    """
    for name in tuning.sets:
        register_instruction_task(name, files[name], vocabulary, template or tuning.template,
                                  kind=tuning.kind, bos=tuning.bos)  # fmt: skip
    return register_mixture(tuning.name, tuning.repeats)


def record_source(task: seqio.Task) -> RecordSource | None:
    """The Task's source, if the Task is records as they stand: nothing that needs tf.data."""
    return task.source if type(task.source) is RecordSource and not task.preprocessors else None


def _feature_names(kind: str) -> tuple[str, ...]:
    if kind == "pairs":
        return ("chosen", "chosen_loss_weights", "rejected", "rejected_loss_weights")
    return ("targets", "loss_weights")
