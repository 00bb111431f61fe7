"""Where the vectors of an index lie, and what says of which model and of which documents they are.

INDEX/dense/model.json           the model, how long passages are, and how many numbers a vector has
INDEX/dense/parts/NAME/          the vectors of the shard NAME of the index, whole or not there at all
    part.json                    of which shard and model it is, and how many there are of each
    vectors.bin                  float16 [vectors, dimensions], of length one; passages with the same text share one
    passages.npy                 int64 [passages, 4]: vector, row of the document, start and stop in characters; sorted
    graph.usearch                the vectors once more, in int8, as a graph that leads to the nearest
INDEX/dense/parts/.NAME.work/    a part that is being made; it goes on from there
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.search.folder import SHARDS

FORMAT = 1
DENSE, MODEL_FILE, PARTS, PART_FILE = "dense", "model.json", "parts", "part.json"


@dataclass(frozen=True, kw_only=True)
class DenseModel:
    """What the vectors of an index were made with.

    Attributes:
      path: where the model lay. fingerprint: of its files.
      dimensions: of a vector. passage_tokens: the limit of a passage.
    """

    path: str
    fingerprint: str
    dimensions: int
    passage_tokens: int

    def write(self, index: Path) -> None:
        """Says it in the folder of an index."""
        with atomic_write(index / DENSE / MODEL_FILE, "w") as file:
            json.dump({"format": FORMAT} | asdict(self), file, ensure_ascii=False, indent=1)

    @classmethod
    def read(cls, index: Path) -> DenseModel | None:
        """What the folder of an index says; None: it has no vectors.

        Raises:
          UserError: the file is not whole or of another format.
        """
        path = index / DENSE / MODEL_FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_bytes())
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error!r}); remove {path.parent} and embed again") from None  # fmt: skip


def part_identity(index: Path, name: str, model: DenseModel) -> dict[str, Any]:
    """In what the part of a shard must agree to be of this shard and model."""
    shard = json.loads((index / SHARDS / name / "shard.json").read_bytes())["identity"]
    return {"format": FORMAT, "shard": shard} | {k: v for k, v in asdict(model).items() if k != "path"}  # fmt: skip


def read_part(path: Path) -> dict[str, Any] | None:
    """What part.json says; None: it is not there or not whole."""
    try:
        return json.loads((path / PART_FILE).read_bytes())
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def embedding(index: Path) -> Iterator[None]:
    """Holds the vectors of an index for one builder.

    Raises:
      UserError: another process embeds there.
    """
    import fcntl

    (index / DENSE / PARTS).mkdir(parents=True, exist_ok=True)
    with (index / DENSE / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is embedding {index}; wait for it to end") from None
        yield
