"""A record that cannot be read: what a reader yields in its place, so that the caller may count it or stop."""

from __future__ import annotations

import os

from llmjp_jax.errors import UserError


class BrokenRecord(UserError):
    """One record of a raw file that is damaged.

    Readers yield it where the record would have been. Whoever wants no gaps raises it.

    Attributes:
      file: the path. position: where in it, in words: `line 12`, `row 3`, `byte 4096`. reason: what is wrong.
    """

    def __init__(self, file: str | os.PathLike, position: str, reason: str):
        self.file, self.position, self.reason = str(file), position, reason
        super().__init__(
            f"{file}, {position}: {reason}; mend the file, or skip such records: --gin.ON_BROKEN=skip"
        )

    def __reduce__(self):  # from a worker process to the one that reports it
        return type(self), (self.file, self.position, self.reason)
