"""--hosts: the same command on every machine of a list, each of which finds its own place in it."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.processes.place import Place, listed, split_address

# Where process 0 listens if the list does not say.
DEFAULT_PORT = 8476


def host_list(value: str) -> list[tuple[str, int | None]]:
    """The hosts of --hosts=HOST[:PORT],HOST,... or of --hosts=@FILE (one a line, # begins a comment), with their ports.

    Raises:
      UserError: a file that cannot be read, no host, the same one twice, or a port on any but the first.
    """
    if value.startswith("@"):
        entries = _lines(Path(value[1:]).expanduser())
    else:
        entries = [entry.strip() for entry in value.split(",")]
    if not any(entries):
        raise UserError(f"--hosts={value} names no host; write --hosts=HOST,HOST or --hosts=@FILE")
    if not all(entries):
        raise UserError(f"--hosts={value} has an empty entry; write --hosts=HOST,HOST")
    hosts = [split_address(entry) for entry in entries]
    for entry, (_, port) in list(zip(entries, hosts, strict=True))[1:]:
        if port is not None:
            raise UserError(
                f"--hosts gives {entry} a port; only the first host has one, where all the others meet it"
            )
    return hosts


def place_in(value: str, index: int | None) -> Place:
    """This machine's place in --hosts; `index` is --process_index, for lists in which a machine stands twice.

    Raises:
      UserError: the list is not one, or this machine is in it not once.
    """
    hosts = host_list(value)
    names = [name for name, _ in hosts]
    if index is None:
        index = _own_index(names)
    elif not 0 <= index < len(names):
        raise UserError(
            f"--process_index={index} must be from 0 to {len(names) - 1}, as --hosts has {len(names)}"
        )
    host, port = hosts[0]
    setting = "the first host's port in --hosts=HOST:PORT,HOST,..."
    return Place(host, port or DEFAULT_PORT, len(names), index, setting)


def is_here(host: str) -> bool:
    """Whether a host's name or address leads to this machine: its own addresses are those it can bind to."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return True
        except OSError:
            continue
    return False


def _own_index(names: list[str]) -> int:
    # By name first: in some networks, the address of every machine's own name is 127.0.0.1.
    mine = {socket.gethostname().lower(), socket.getfqdn().lower()}
    found = [i for i, name in enumerate(names) if any(_same(name.lower(), own) for own in mine)]
    found = found or [i for i, name in enumerate(names) if is_here(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"this machine is in --hosts {len(found)} times, as processes {listed(found)}; "
            "add --process_index to say which one this is"
        )
    raise UserError(
        f"this machine ({socket.gethostname()}) is not in --hosts; add its name or address, or say with "
        "--process_index which one it is"
    )


def _same(name: str, own: str) -> bool:
    """Equal names; one without a domain equals the other's first part, unless it is an address."""
    if name == own:
        return True
    if "." in name and "." in own or _is_address(name) or _is_address(own):
        return False
    return name.split(".")[0] == own.split(".")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--hosts=@{path} cannot be read: {error}") from None
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
