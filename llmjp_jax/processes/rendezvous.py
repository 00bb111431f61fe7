"""All processes meet at the coordinator's port before JAX starts, so that a user sees who has come and who has not.

JAX's own start waits in silence, and ends the process when the time is up. Here process 0 listens on the port that
JAX will use, each other process tells it its index and how many it expects, and all leave together: then the port is
free for JAX. Lines of text, each with its end, both ways:

    process:    hello {"count": 4, "index": 2, "key": "...", "who": "node2 process 4711"}
    process 0:  waiting 3 1            every second: how many have come, and which have not
    process:    here                   to each of those
    process 0:  go    or    refused SENTENCE

Whatever says something else is a stranger (a port scanner, another program), and is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import time
import uuid
from collections.abc import Callable

from llmjp_jax.errors import UserError
from llmjp_jax.processes.hosts import is_here
from llmjp_jax.processes.place import Place, listed

_HELLO = b"llmjp_jax hello "
_LONGEST_LINE = 4096
# A process that has said nothing for so long is gone, though its connection stands.
_SILENCE = 15.0
_BEAT = 1.0


def meet(place: Place, timeout: float, say: Callable[[str], None]) -> None:
    """Returns when all processes of the run have come, with the port closed again.

    Args:
      timeout: seconds after which those that came give up.
      say: takes each line of progress.

    Raises:
      UserError: some did not come in time; the port is taken; two have one index, or another count.
    """
    if place.count == 1:
        return
    (_wait_for_all if place.index == 0 else _join)(place, timeout, say)


# Process 0


class _Guest:
    """A connection to process 0: a stranger until its hello, then the process `index`."""

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self.received = b""
        self.heard = time.monotonic()
        self.index: int | None = None
        self.key = self.who = ""

    def tell(self, line: str) -> bool:
        try:
            self.connection.sendall(line.encode() + b"\n")
        except OSError:  # gone, or so far behind that its buffer is full
            return False
        return True


class _Refused(Exception):
    """The processes do not fit together."""


class _Coordinator:
    def __init__(self, place: Place, listener: socket.socket):
        self.place = place
        self.listener = listener
        self.guests: set[_Guest] = set()
        self.members: dict[int, _Guest] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)

    @property
    def missing(self) -> list[int]:
        return [i for i in range(1, self.place.count) if i not in self.members]

    def listen(self, seconds: float) -> None:
        """Takes in what arrives within some time."""
        for key, _ in self.selector.select(seconds):
            if key.data is None:
                self._accept()
            elif key.data in self.guests:
                self._read(key.data)
        for guest in list(self.guests):
            if time.monotonic() - guest.heard > _SILENCE:
                self._drop(guest)

    def beat(self) -> None:
        line = f"waiting {self.place.count - len(self.missing)} {listed(self.missing)}"
        for guest in list(self.members.values()):
            if not guest.tell(line):
                self._drop(guest)

    def end(self, line: str) -> None:
        """Frees the port, says the last word to all, and stays until they have heard it."""
        self.selector.unregister(self.listener)
        self.listener.close()
        for guest in list(self.guests):
            if guest.index is None or not guest.tell(line):
                self._drop(guest)
        deadline = time.monotonic() + 5
        while self.guests and time.monotonic() < deadline:
            # They close first, so that it is their ports that the system keeps for a while.
            for key, _ in self.selector.select(deadline - time.monotonic()):
                if not _received(key.data.connection):
                    self._drop(key.data)
        for guest in list(self.guests):
            self._drop(guest)

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:  # it left at once, or too many strangers are here
            return
        connection.setblocking(False)
        guest = _Guest(connection)
        self.guests.add(guest)
        self.selector.register(connection, selectors.EVENT_READ, guest)

    def _drop(self, guest: _Guest) -> None:
        self.guests.discard(guest)
        if guest.index is not None and self.members.get(guest.index) is guest:
            del self.members[guest.index]
        self.selector.unregister(guest.connection)
        guest.connection.close()

    def _read(self, guest: _Guest) -> None:
        data = _received(guest.connection)
        guest.received += data
        *lines, guest.received = guest.received.split(b"\n")
        if not data or len(guest.received) > _LONGEST_LINE:
            self._drop(guest)
            return
        for line in lines:
            if guest.index is not None:
                guest.heard = time.monotonic()
            elif not self._welcome(guest, line):
                self._drop(guest)
                return

    def _welcome(self, guest: _Guest, line: bytes) -> bool:
        """Whether a first line is a hello."""
        try:
            hello = json.loads(line.removeprefix(_HELLO)) if line.startswith(_HELLO) else None
            count, index = int(hello["count"]), int(hello["index"])
            guest.key, guest.who = str(hello["key"]), str(hello["who"])
        except (ValueError, TypeError, KeyError):
            return False
        if not 0 <= index < count:
            return False
        guest.index, guest.heard = index, time.monotonic()
        if count != self.place.count:
            raise _Refused(
                f"process {index} ({guest.who}) was started as one of {count}, process 0 ({_who()}) as one of "
                f"{self.place.count}; start all with the same number of processes"
            )
        other = self.members.get(index)
        if index == 0 or (other is not None and other.key != guest.key):
            first = _who() if other is None else other.who
            raise _Refused(
                f"two processes have the index {index}: {first} and {guest.who}; give each its own, from 0 to "
                f"{count - 1}"
            )
        if other is not None:  # the same one, which lost its first connection
            self._drop(other)
        self.members[index] = guest
        return True


def _wait_for_all(place: Place, timeout: float, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + timeout
    coordinator = _Coordinator(place, _listener(place))
    try:
        said, next_line, next_beat = 0, 0.0, 0.0
        while coordinator.missing:
            now, come = time.monotonic(), place.count - len(coordinator.missing)
            if come != said and now >= next_line:  # hundreds come at once: not a line for each
                said, next_line = come, now + _BEAT / 2
                say(_progress(come, place.count, listed(coordinator.missing)))
            if now >= next_beat:
                next_beat = now + _BEAT
                coordinator.beat()
            if now >= deadline:
                raise _Refused(_too_late(place, timeout, come, listed(coordinator.missing)))
            coordinator.listen(min(_BEAT / 4, deadline - now))
        say(f"{place.count} of {place.count} processes connected")
        coordinator.end("go")
    except _Refused as refusal:
        coordinator.end(f"refused {refusal}")
        raise UserError(str(refusal)) from None
    except BaseException:
        coordinator.end("gone")
        raise


def _listener(place: Place) -> socket.socket:
    """A listener on the port, of all addresses of this machine, IPv6 and IPv4, as JAX's own will be."""
    both = socket.has_dualstack_ipv6()
    options = {"family": socket.AF_INET6, "dualstack_ipv6": True} if both else {}
    try:
        try:
            listener = socket.create_server(("", place.port), backlog=place.count, **options)
        except OSError as error:
            if not both or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            listener = socket.create_server(("", place.port), backlog=place.count)
    except OSError as error:
        reason = "in use" if error.errno == errno.EADDRINUSE else f"not to be had ({error})"
        raise UserError(
            f"port {place.port} of this machine, where process 0 meets the others, is {reason}; end what holds it, "
            f"or change {place.port_setting}"
        ) from None
    listener.setblocking(False)
    return listener


# The others


def _join(place: Place, timeout: float, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + timeout
    me = f"process {place.index} of {place.count}"
    say(f"{me} waits up to {timeout:g} s for process 0 at {place.address}")
    hello = {"count": place.count, "index": place.index, "key": uuid.uuid4().hex, "who": _who()}
    member = _Member(place, deadline, lambda line: say(f"{me}: {line}"))
    while not member.joins(_HELLO + json.dumps(hello).encode() + b"\n"):
        left = deadline - time.monotonic()
        if left > 0:
            time.sleep(min(0.25, left))
            continue
        if member.last_heard is not None:
            raise UserError(_too_late(place, timeout, *member.last_heard))
        raise UserError(
            f"process 0 did not answer at {place.address} within {timeout:g} s ({member.trouble}); start it there, "
            "or give all processes its address"
        )


class _Member:
    """One process's tries to join process 0."""

    def __init__(self, place: Place, deadline: float, say: Callable[[str], None]):
        self.place, self.deadline, self.say = place, deadline, say
        self.trouble = ""
        self.last_heard: tuple[int, str] | None = None

    def joins(self, hello: bytes) -> bool:
        """One try: whether process 0 said go; False when it is not there, or went away."""
        host, port = self.place.host, self.place.port
        try:
            with socket.create_connection((host, port), timeout=self._patience(5.0)) as connection:
                connection.sendall(hello)
                return self._talk(connection)
        except (OSError, UnicodeError) as error:
            self.trouble = str(error)
            return False
        finally:
            if time.monotonic() < self.deadline:
                self.last_heard = None

    def _talk(self, connection: socket.socket) -> bool:
        received = b""
        while True:
            # Process 0, whose time is up at nearly the same moment, is to speak first: it knows who is missing.
            connection.settimeout(self._patience(_SILENCE, 3 * _BEAT))
            try:
                data = connection.recv(_LONGEST_LINE)
            except TimeoutError:
                self.trouble = "what answers there is another program, or has stopped"
                return False
            if not data:
                self.trouble = "what answers there closes the connection"
                return False
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                word, _, rest = line.decode("utf-8", "replace").partition(" ")
                if word == "go":
                    return True
                if word == "refused":
                    raise UserError(rest)
                if word == "waiting":
                    self._still_waiting(rest)
                    connection.sendall(b"here\n")
            if len(received) > _LONGEST_LINE:
                self.trouble = "what answers there is another program"
                return False

    def _still_waiting(self, rest: str) -> None:
        come, _, missing = rest.partition(" ")
        if not come.isdecimal():
            return
        if self.last_heard is None:
            self.say(_progress(int(come), self.place.count, missing))
        self.last_heard = int(come), missing

    def _patience(self, most: float, beyond: float = 0.0) -> float:
        return max(0.1, min(most, self.deadline + beyond - time.monotonic()))


# Both


def _received(connection: socket.socket) -> bytes:
    """What has arrived; nothing when the other side has gone."""
    with contextlib.suppress(OSError):
        return connection.recv(_LONGEST_LINE)
    return b""


def _who() -> str:
    return f"{socket.gethostname()} process {os.getpid()}"


def _progress(come: int, count: int, missing: str) -> str:
    return f"{come} of {count} processes connected; waiting for {missing}"


def _too_late(place: Place, timeout: float, come: int, missing: str) -> str:
    elsewhere = "" if place.index or is_here(place.host) else (
        f"; {place.host}, where they look for process 0, does not seem to be this machine"
    )  # fmt: skip
    return (
        f"after {timeout:g} s, {come} of {place.count} processes are connected: {missing} did not come; start them, "
        f"or give more time with --initialization_timeout{elsewhere}"
    )
