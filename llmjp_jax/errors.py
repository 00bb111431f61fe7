"""The one exception for a user's mistake, and how a command ends on it.

Library code raises `UserError` with one sentence that says what is wrong, where, and the fix. A command runs inside
`exit_on_user_error`, so that its user reads that sentence instead of a traceback. A defect of ours stays a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Iterator

# What the file system says when the place, not the program, is at fault.
_PLACE_ERRORS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this process may write",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a file has the name of the folder",
    errno.EISDIR: "a folder has the name of the file",
}


class UserError(ValueError):
    """A mistake in what the user gave: a flag, a file, a configuration.

    The message is one sentence: what is wrong, where (file, line, field), and the fix.
    """


def place_error(error: OSError) -> str | None:
    """One sentence for an `OSError` that a full, read-only or forbidden place causes; None for any other."""
    reason = _PLACE_ERRORS.get(error.errno)
    if reason is None:
        return None
    where = error.filename if error.filename is not None else "the output folder"
    return f"cannot write to {where}: {reason}; choose another folder or make room there"


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Ends the process with `error: ...` and exit code 2 when the body raises a `UserError`.

    Full, read-only and forbidden folders count as mistakes of the same kind; a reader of the output that has enough, such as
    `head`, ends the process silently. Anything else passes through.
    """
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        sys.exit(1)
    except OSError as error:
        sentence = place_error(error)
        if sentence is None:
            raise
        _fail(sentence)


def _output_is_closed() -> bool:
    """Whether nobody reads standard output any more; what is left of it is then thrown away, not tried again at the end."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _fail(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(2)
