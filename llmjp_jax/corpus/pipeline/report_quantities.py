"""Counts, sizes and shares as a report writes them: thousands separators, units, and no false 0 % or 100 %."""

from __future__ import annotations

NARROW = "\u00a0"  # keeps a number and its unit on one line
NOTHING = "–"  # a share of nothing

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: int) -> str:
    """`1234567` -> `1,234,567`."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """`1 document`, `1,234 documents`."""
    return f"{count(number)}{NARROW}{noun}{'' if number == 1 else 's'}"


def unit_of(number_of_bytes: int) -> int:
    """The power of 1,000 whose unit suits a size, or a table whose largest size it is: 2 for MB."""
    power = 0
    while power + 1 < len(_UNITS) and number_of_bytes >= 1000 ** (power + 1):
        power += 1
    return power


def unit_name(power: int) -> str:
    """`B`, `kB`, `MB`, `GB`, `TB`, `PB`: powers of 1,000."""
    return _UNITS[power]


def in_unit(number_of_bytes: int, power: int) -> str:
    """A size as a number of the unit 1000 ** power, with two decimals; whole for bytes.

    >>> in_unit(1_234_567, 2), in_unit(0, 2), in_unit(12, 2)
    ('1.23', '0.00', '<0.01')
    """
    if power == 0:
        return count(number_of_bytes)
    amount = number_of_bytes / 1000**power
    return "<0.01" if 0 < amount < 0.005 else f"{amount:,.2f}"


def size(number_of_bytes: int) -> str:
    """`812 B`, `1.23 MB`: a size in the unit that suits it; 1 MB = 10^6 bytes."""
    power = unit_of(number_of_bytes)
    return f"{in_unit(number_of_bytes, power)}{NARROW}{_UNITS[power]}"


def share(part: int, whole: int) -> str:
    """`part` as a percentage of `whole`; only nothing is `0 %` and only everything is `100 %`.

    >>> share(1, 3), share(1, 10**6), share(10**6 - 1, 10**6), share(0, 0)
    ('33.3\\xa0%', '<0.1\\xa0%', '>99.9\\xa0%', '–')
    """
    if whole == 0:
        return NOTHING
    percent = 100 * part / whole
    if part in (0, whole):
        number = f"{percent:.0f}"
    elif 0 < percent < 0.1:
        number = "<0.1"
    elif 99.9 < percent < 100:
        number = ">99.9"
    else:
        number = f"{percent:,.0f}" if percent >= 1000 else f"{percent:.1f}"
    return f"{number}{NARROW}%"


def change(before: int, after: int) -> str:
    """How much a quantity shrank or grew: `−12.3 %`, `+4.0 %`, `0 %`, `≈ 0 %`; `–` where there was nothing before."""
    if before == 0 or before == after:
        return share(0, before)
    percent = 100 * abs(after - before) / before
    if percent < 0.05:
        return f"≈{NARROW}0{NARROW}%"
    if after and percent > 99.95 and after < before:
        return f"≈{NARROW}−100{NARROW}%"
    number = f"{percent:,.0f}" if percent >= 1000 or after == 0 else f"{percent:.1f}"
    return f"{'−' if after < before else '+'}{number}{NARROW}%"
