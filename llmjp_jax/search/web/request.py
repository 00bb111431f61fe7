"""What a client asks for, taken apart strictly: the path's parts, the fields of a query or a form, and who sent it.

No part of a path ever becomes a path of the file system. Reading from the socket is `connection`, answering is `application`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_FIELDS = 200  # of a query or a form
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", re.ASCII)


class Refusal(Exception):
    """A request that is not answered, and the sentence that its sender reads instead.

    Attributes:
      status: HTTP's number for it.
      sentence: what is wrong, and what would be right.
      allow: the methods that would be right, with a 405. retry: in how many seconds, with a 503.
    """

    def __init__(
        self, status: int, sentence: str, allow: Sequence[str] = (), retry: int | None = None
    ):
        super().__init__(sentence)
        self.status, self.sentence, self.allow, self.retry = status, sentence, allow, retry


@dataclass(frozen=True)
class Request:
    """A request with everything decoded.

    Attributes:
      method: GET or POST; a HEAD is answered like a GET.
      path: what stands between the slashes: `/document/ja/train/1` is ("document", "ja", "train", "1").
      fields: of the query, and of the form of a POST: each name with its values in order.
    """

    method: str
    path: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]

    def field(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        return self.fields.get(name, (default,))[-1]


def parse_target(target: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The path's parts and the fields of `/path?query`.

    Raises:
      Refusal: it is of another form, or its bytes are not UTF-8.
    """
    if not target.startswith("/"):
        raise Refusal(400, "The address must begin with a slash, such as /?q=text.")
    path, _, query = target.partition("#")[0].partition("?")
    try:
        parts = tuple(unquote(part, errors="strict") for part in path[1:].split("/"))
    except UnicodeDecodeError:
        raise Refusal(400, "The address is not UTF-8; correct its percent signs.") from None
    return (() if parts == ("",) else parts), parse_fields(query)


def parse_fields(encoded: str) -> dict[str, tuple[str, ...]]:
    """The fields of `name=value&name=value`, percent-encoded UTF-8.

    Raises:
      Refusal: it is not UTF-8, or has too many fields.
    """
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except UnicodeDecodeError:
        raise Refusal(400, "The query is not UTF-8; correct its percent signs.") from None
    except ValueError:
        raise Refusal(400, f"The query has more than {_FIELDS} fields; leave some out.") from None
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), value)
    return fields


def check_host(hosts: Sequence[str], only_loopback: bool) -> str:
    """The Host of a request.

    A page of another site can let its own name point to this machine (DNS rebinding), and so read what a server on loopback
    answers. Its requests still carry that name, which is none of ours.

    Args:
      hosts: all Host headers.
      only_loopback: whether the server listens on the loopback interface.

    Raises:
      Refusal: there is none, there are several, or it names another host.
    """
    found = _HOST.fullmatch(hosts[0].strip()) if len(hosts) == 1 else None
    if not found:
        raise Refusal(400, "The request needs one Host header that is a name or an address.")
    if only_loopback and not _is_loopback(found[1].lower()):
        raise Refusal(421, "This server answers to localhost and 127.0.0.1 alone; use one of these in the address.")  # fmt: skip
    return hosts[0].strip().lower()


def check_sender(
    method: str, host: str, origins: Sequence[str], sites: Sequence[str], modes: Sequence[str]
) -> None:
    """Refuses what a page of another site sends by itself; that a reader follows a link from there is fine.

    Args:
      host: what `check_host` gave. origins, sites, modes: the headers Origin, Sec-Fetch-Site, Sec-Fetch-Mode.

    Raises:
      Refusal: another site sent it.
    """
    refusal = Refusal(403, "Another site sent this request; open the page itself and ask there.")
    if method == "POST":
        if any(site not in ("same-origin", "none") for site in sites):
            raise refusal
        if any(origin.lower() not in (f"http://{host}", f"https://{host}") for origin in origins):
            raise refusal
    elif any(site in ("cross-site", "same-site") for site in sites) and "navigate" not in modes:
        raise refusal


def _is_loopback(name: str) -> bool:
    if name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
