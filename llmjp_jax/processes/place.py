"""Where one process stands among all of a run, and addresses as users write them."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Place:
    """One process of a run.

    Attributes:
      host, port: where process 0 is met; an IPv6 address without brackets.
      count: processes of the run. index: which one this is, from 0.
      port_setting: what a user changes to have another port, for sentences.
      local_device_ids: the GPUs of this machine that are this process's; None: all that it sees.
    """

    host: str
    port: int
    count: int
    index: int
    port_setting: str
    local_device_ids: tuple[int, ...] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT, or [ADDRESS]:PORT for IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def split_address(text: str) -> tuple[str, int | None]:
    """Host and port of HOST, HOST:PORT, ADDRESS (IPv6) or [ADDRESS]:PORT.

        node1:1234 -> ('node1', 1234)    node1 -> ('node1', None)    [::1]:80 -> ('::1', 80)    ::1 -> ('::1', None)

    Raises:
      UserError: anything else.
    """
    found = re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?|([^\s:\[\]/]+)(?::(\d+))?", text)
    if found:
        inside, inside_port, plain, plain_port = found.groups()
        port = inside_port or plain_port
        if port is None or 0 < int(port) < 2**16:
            return inside or plain, port and int(port)
        raise UserError(f"{text} has the port {port}; ports are numbers from 1 to 65535")
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise UserError(
            f"{text!r} is not an address; write HOST, HOST:PORT, or [ADDRESS]:PORT for IPv6"
        ) from None
    return text, None


def listed(indices: list[int]) -> str:
    """Sorted numbers in a short form: [1, 2, 3, 7] -> '1-3, 7'."""
    ranges: list[list[int]] = []
    for index in sorted(indices):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
