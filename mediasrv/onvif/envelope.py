"""SOAP answers, read by local names: cameras put elements into wrong namespaces, leave out what a schema demands,
and use prefixes that they never declare. Pure.

    body = parse_envelope(data)                     # the element in the Body, or a SoapFault
    text_of(body, "MediaUri", "Uri")                # empty where any of them is missing
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mediasrv.errors import ProtocolError
from mediasrv.onvif.values import clean_text
from mediasrv.onvif.xml_guard import check_xml

_USED_PREFIX: Final = re.compile(rb"(?:</?|\s)([A-Za-z_][\w.-]{0,60}):[A-Za-z_]")
_DECLARED_PREFIX: Final = re.compile(rb"xmlns:([A-Za-z_][\w.-]{0,60})\s*=")
_MOST_UNDECLARED: Final = 32
"""More than any camera forgets; each costs the parser a look at all others."""
_ROOT: Final = re.compile(rb"<(?![?!])[^\s/>]+")
_REFUSALS: Final = ("notauthorized", "not authorized", "unauthorized", "authentication", "failedauthentication")


class SoapFault(Exception):
    """What a camera answers instead. `codes` have lost their prefixes; `reason` is fit to be shown."""

    def __init__(self, codes: tuple[str, ...], reason: str) -> None:
        super().__init__(reason)
        self.codes, self.reason = codes, reason

    @property
    def is_refusal(self) -> bool:
        """ter:NotAuthorized, or one of the many other ways in which cameras say so (ONVIF Core, 5.11.2.2)."""
        said = " ".join((*self.codes, self.reason)).lower()
        return any(word in said for word in _REFUSALS)


def parse_envelope(data: bytes) -> Element:
    """The first element of the Body; an element without children where the Body is empty.

    Raises SoapFault for a fault, ProtocolError for what is no SOAP envelope.
    """
    envelope = _parse(check_xml(data))
    body = find(envelope, "Body")
    if local_name(envelope) != "Envelope" or body is None:
        raise ProtocolError("It is no SOAP envelope.", code="xml_refused")
    answer = body[0] if len(body) else body
    if local_name(answer) == "Fault":
        raise _fault(answer)
    return answer


def _parse(data: bytes) -> Element:
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - checked to carry no DTD
    except ElementTree.ParseError as error:
        repaired = _declare_prefixes(data)
        if repaired == data:
            raise ProtocolError("It is not XML.", code="xml_refused") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise ProtocolError("It is not XML.", code="xml_refused") from error
    try:
        return ElementTree.fromstring(repaired)  # noqa: S314 - checked to carry no DTD
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ProtocolError("It is not XML.", code="xml_refused") from error


def _declare_prefixes(data: bytes) -> bytes:
    """The document with every prefix declared at its root that is used and declared nowhere."""
    undeclared = set(_USED_PREFIX.findall(data)) - set(_DECLARED_PREFIX.findall(data)) - {b"xml", b"xmlns"}
    root = _ROOT.search(data)
    if root is None or len(undeclared) > _MOST_UNDECLARED:
        return data
    names = b"".join(b' xmlns:%b="urn:undeclared:%b"' % (prefix, prefix) for prefix in sorted(undeclared))
    return data[: root.end()] + names + data[root.end() :]


def _fault(fault: Element) -> SoapFault:
    codes = [element.text or "" for element in fault.iter() if local_name(element) in ("Value", "faultcode")]
    reason = text_of(fault, "Reason", "Text") or text_of(fault, "faultstring")
    return SoapFault(tuple(clean_text(code).rpartition(":")[2] for code in codes[:8]), clean_text(reason))


# --- elements by local names -----------------------------------------------------------------------


def local_name(element: Element) -> str:
    # Comments and processing instructions are dropped by the parser: a tag is a text.
    return element.tag.rpartition("}")[2]


def find_all(element: Element | None, name: str) -> Iterator[Element]:
    """The children of this name."""
    for child in element if element is not None else ():
        if local_name(child) == name:
            yield child


def find(element: Element | None, *names: str) -> Element | None:
    """A child of a child; None as soon as one is missing."""
    for name in names:
        element = next(find_all(element, name), None)
    return element


def text_of(element: Element | None, *names: str) -> str:
    """The stripped text of a child of a child, or an empty one."""
    found = find(element, *names)
    return (found.text or "").strip() if found is not None else ""


def number_of(element: Element | None, *names: str) -> float:
    """A number that is not negative, 0.0 for everything else: cameras write 25, 25.000000, -1 or nothing."""
    return parse_number(text_of(element, *names))


def parse_number(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e12 else 0.0


def parse_flag(text: str) -> bool | None:
    """xs:boolean, and what cameras write instead; None for anything else."""
    return {"true": True, "1": True, "active": True, "on": True, "false": False, "0": False, "inactive": False,
            "off": False}.get(text.strip().lower())  # fmt: skip
