"""TensorBoard event files, written at once.

tensorboardX's `SummaryWriter` hands events to a thread; when the disk is full that thread dies and training waits for it
for ever. Its record format is used here without the thread.
"""

from __future__ import annotations

import time
from pathlib import Path


class Board:
    """The event file of one start of a run; `first_step` hides what an earlier start wrote from that step on."""

    def __init__(self, directory: Path, first_step: int):
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        directory.mkdir(parents=True, exist_ok=True)
        self._scalar, self._proto = summary.scalar, event_pb2
        self._file = EventsWriter(str(directory / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._file.write_event(event_pb2.Event(step=first_step, session_log=start))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds scalars by tag.

        Raises:
          OSError: the disk is full.
        """
        for tag, value in values.items():
            event = self._proto.Event(
                step=step, wall_time=time.time(), summary=self._scalar(tag, value)
            )
            self._file.write_event(event)
        self._file.flush()

    def close(self) -> None:
        self._file.close()
