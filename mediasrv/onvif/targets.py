"""Lists of addresses as people write them: single ones, ranges, networks, tables. Pure."""

from __future__ import annotations

import csv
import io
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mediasrv.errors import CameraError, InvalidRequest
from mediasrv.onvif.address import is_rtsp_url, parse_address, split_login

MOST_TARGETS: Final = 1024
_V4: Final = r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"
_RANGE: Final = re.compile(rf"({_V4})-({_V4}|\d{{1,3}})(:\d{{1,5}})?", re.ASCII)
_NETWORK: Final = re.compile(rf"({_V4}/\d{{1,2}})(:\d{{1,5}})?", re.ASCII)
_RTSP: Final = ("rtsp://", "rtsps://")
_COLUMNS: Final = ("address", "username", "password", "name", "place")


@dataclass(frozen=True, slots=True)
class Target:
    """A row of a table of cameras. `address` is what `read_device` takes, or an rtsp:// URL."""

    address: str
    username: str = ""
    password: str = field(default="", repr=False)
    name: str = ""
    place: str = ""


def parse_targets(text: str, most: int = MOST_TARGETS) -> list[str]:
    """Addresses separated by blanks, commas or lines: hosts, `host:port`, http:// URLs, IPv4 networks
    (`192.168.1.0/24`) and ranges (`10.0.0.5-10.0.0.20`, `10.0.0.5-20`), these two with `:port` where it is not 80.

    Each address once, in the order of the text. Raises InvalidRequest (`addresses_invalid`) for more than `most`, for
    none, and for one that is no address; says which.
    """
    return [target.address for target in _parse_words(text, most, urls=False)]


def parse_devices(text: str, most: int = MOST_TARGETS) -> list[Target]:
    """As `parse_targets`, and rtsp:// URLs too, whose logins are taken out of them."""
    return list(_parse_words(text, most, urls=True))


def with_login(targets: Sequence[Target], username: str, password: str) -> list[Target]:
    """The targets, with this login where they have none of their own."""
    return [
        target if target.username or target.password else replace(target, username=username, password=password)
        for target in targets
    ]


def _parse_words(text: str, most: int, *, urls: bool) -> list[Target]:
    found: dict[str, Target] = {}
    for word in re.split(r"[\s,;]+", text.strip()):
        if urls and word.startswith(_RTSP):
            url, username, password = split_login(word)
            if not is_rtsp_url(url):
                raise _invalid(f"{_shown(word)} is no rtsp:// URL.")
            found[url] = Target(url, username, password)
        else:
            for address in _expand(word) if word else ():
                found[address] = Target(address)
                if len(found) > most:
                    break
        if len(found) > most:
            raise _invalid(f"These are more than {most} addresses.")
    if not found:
        raise _invalid("There is no address.")
    return list(found.values())


def _expand(word: str) -> Iterator[str]:
    try:
        if network := _NETWORK.fullmatch(word):
            hosts = ipaddress.IPv4Network(network[1], strict=False).hosts()
            yield from (f"{host}{network[2] or ''}" for host in hosts)
        elif span := _RANGE.fullmatch(word):
            first = ipaddress.IPv4Address(span[1])
            last = ipaddress.IPv4Address(span[2] if "." in span[2] else f"{span[1].rpartition('.')[0]}.{span[2]}")
            if last < first:
                raise ValueError
            for number in range(int(first), int(last) + 1):
                yield f"{ipaddress.IPv4Address(number)}{span[3] or ''}"
        else:
            parse_address(word)
            yield word
    except (ValueError, CameraError) as error:
        raise _invalid(f"{_shown(word)} is no address, range or network.") from error


def parse_table(text: str, most: int = MOST_TARGETS) -> list[Target]:
    """A CSV table of cameras, separated by commas, semicolons or tabs. The first line names the columns (address,
    username, password, name, place; unknown ones are passed over), or there are no names and that is their order.

    Raises InvalidRequest (`addresses_invalid`) and says in which line.
    """
    lines = text.removeprefix("\ufeff")
    first = lines.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(lines), delimiter=delimiter)]
    except csv.Error as error:
        raise _invalid("This is no table of cameras.") from error
    named = bool(rows) and "address" in [cell.lower() for cell in rows[0]]
    columns = tuple(cell.lower() for cell in rows[0]) if named else _COLUMNS
    found = []
    for number, row in enumerate(rows[1:] if named else rows, 2 if named else 1):
        if any(row):
            found.append(_target(dict(zip(columns, row, strict=False)), number))
        if len(found) > most:
            raise _invalid(f"The table has more than {most} cameras.")
    if not found:
        raise _invalid("The table has no camera.")
    return found


def _target(cells: dict[str, str], line: int) -> Target:
    address, username, password = split_login(cells.get("address", ""))
    try:
        if not (address.startswith(_RTSP) and is_rtsp_url(address)):
            parse_address(address)
    except CameraError as error:
        raise _invalid(f"Line {line}: {_shown(address)} is no address.") from error
    return Target(
        address,
        cells.get("username", "") or username,
        cells.get("password", "") or password,
        cells.get("name", ""),
        cells.get("place", ""),
    )


def _shown(word: str) -> str:
    """Never the password of an address that somebody typed with one."""
    return word.rpartition("@")[2][:60].encode("ascii", "replace").decode()


def _invalid(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, code="addresses_invalid")
