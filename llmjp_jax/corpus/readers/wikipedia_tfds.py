"""Documents from the Wikipedia data sets of TensorFlow Datasets (`wikipedia/20230601.ja`), as they lie on the disk.

Nothing is downloaded here: `tfds build` or `tfds.load(..., try_gcs=True)` prepares the data set. TensorFlow comes in with it,
when the first document is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.errors import UserError

_INFO = "dataset_info.json"


def read_wikipedia_tfds(
    path: str | os.PathLike,
    *,
    name: str | None = None,
    language: str | None = None,
    split: str = "train",
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, Document | BrokenRecord]]:
    """Yields (position, document) of each article, in the order of the files; a damaged one as (position, `BrokenRecord`).

    `meta` has `url`, `title` and `language`; these data sets keep no id. Positions are `example 1`, ... Where a file is
    damaged the rest cannot be read, and a `BrokenRecord` is the last.

    Args:
      path: the data set's own folder (`DIR/wikipedia/20230601.ja/1.0.0`), or one that it lies in.
      name: which one, such as `wikipedia/20230601.ja`, if there are several below `path`.
      language: of the articles; None: that of the data set's name.
      split: in TFDS's words, such as `train[:10%]`.
      progress: called with the number of bytes of UTF-8 text that were read since the last call.

    Raises:
      UserError: there is no such data set, or more than one, or it has no `title` and `text`.
    """
    folder = _find(Path(path), name)
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    if not {"title", "text"} <= set(builder.info.features or ()):
        raise UserError(f"{folder} is no Wikipedia data set: it lacks title or text")
    language = language or folder.parent.name.rpartition(".")[2]
    # One file after another, in order: the same documents at the same positions each time.
    config = tfds.ReadConfig(
        interleave_cycle_length=1, num_parallel_calls_for_interleave_files=1, try_autocache=False
    )
    try:
        data = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
    except ValueError as error:
        raise UserError(f"{folder} has no split {split} ({_line(error)})") from None
    examples, number = iter(data.as_numpy_iterator()), 0
    while True:
        number += 1
        try:
            example = next(examples, None)
        except tf.errors.OpError as error:
            reason = f"the rest of the data set cannot be read ({_line(error)})"
            yield f"example {number}", BrokenRecord(folder, f"example {number}", reason)
            return
        if example is None:
            return
        if progress is not None:
            progress(len(example["text"]))
        position = f"example {number}"
        yield position, _document(folder, position, example, language)


def _document(
    folder: Path, position: str, example: dict[str, bytes], language: str
) -> Document | BrokenRecord:
    try:
        title, text = (example[field].decode("utf-8") for field in ("title", "text"))
    except UnicodeDecodeError as error:
        return BrokenRecord(folder, position, f"a text is not UTF-8 ({error.reason})")
    url = f"https://{language}.wikipedia.org/wiki/{quote(title)}"
    return {"text": text, "meta": {"url": url, "title": title, "language": language}}


def _find(path: Path, name: str | None) -> Path:
    below = path if name is None else path / name
    found = sorted(info.parent for info in below.rglob(_INFO)) if below.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"there is no TFDS data set in {below}; prepare it with `tfds build wikipedia/20230601.ja --data_dir={path}`, or "
            "read a dump"
        )
    names = ", ".join(str(folder.relative_to(path)) for folder in found)
    raise UserError(f"{path} has several data sets; give the name of one of: {names}")


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:200]
