"""Asks a judge and keeps each reply in a file as it comes, so that nothing is asked again after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.client import JudgeClient
from llmjp_jax.evaluation.judges.requests import (
    JudgeReply,
    JudgeRequest,
    read_replies,
    reply_line,
    unique,
)


def ask_and_keep(
    client: JudgeClient,
    requests: Iterable[JudgeRequest],
    path: str | os.PathLike,
    progress: bool = False,
) -> dict[str, JudgeReply]:
    """A reply to each request, by the requests' ids: from the file `path` where it has a text, else of the judge.

    Each reply is appended to the file, a batch run's output line, before the next is taken. What ended with an error is
    asked again by the next call.

    Args:
      progress: shows a bar on stderr.

    Raises:
      UserError: another process writes to the file, the file is of another kind, or `JudgeClient.ask` raises it.
    """
    from tqdm import tqdm

    requests = unique(requests)
    with _appending(Path(path)) as file:
        replies = read_replies(path, requests, client.model)
        replies = {id: reply for id, reply in replies.items() if reply.error is None}
        left = [request for request in requests if request.id not in replies]
        ids = {request.id: request.custom_id(client.model) for request in left}
        bar = tqdm(total=len(requests), initial=len(replies), desc=f"asking {client.model}", disable=not progress)  # fmt: skip
        errors = 0
        with bar:
            for reply in client.ask(left):
                file.write(reply_line(ids[reply.id], reply).encode())
                file.flush()
                os.fsync(file.fileno())
                replies[reply.id] = reply
                if reply.error is not None:
                    errors += 1
                    bar.set_postfix(errors=errors)
                bar.update()
    return {request.id: replies[request.id] for request in requests}


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[IO[bytes]]:
    """The file open at its end, without the half line that a kill may have left, and for this process alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path} is being written by another process; wait for it, or give another folder"
            ) from None
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        yield file
