"""SOAP 1.2 envelopes, as text: what a camera reads and writes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
WSNT: Final = "http://docs.oasis-open.org/wsn/b-2"
NAMESPACES: Final = {
    "s": SOAP,
    "tds": "http://www.onvif.org/ver10/device/wsdl",
    "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tr2": "http://www.onvif.org/ver20/media/wsdl",
    "tev": "http://www.onvif.org/ver10/events/wsdl",
    "tptz": "http://www.onvif.org/ver20/ptz/wsdl",
    "tt": "http://www.onvif.org/ver10/schema",
    "ter": "http://www.onvif.org/ver10/error",
    "tns1": "http://www.onvif.org/ver10/topics",
    "wsnt": WSNT,
    "wstop": "http://docs.oasis-open.org/wsn/t-1",
    "wsa": "http://www.w3.org/2005/08/addressing",
}
_DURATION: Final = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")


@dataclass(slots=True)
class SoapFault(Exception):
    """A fault to answer; `challenges` ask for HTTP authentication as well."""

    status: int
    code: str
    reason: str
    challenges: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Call:
    """One operation asked for: its element, the host under which the camera was reached, and the URL's query."""

    operation: Element
    host: str
    query: Mapping[str, str]

    def text(self, *names: str) -> str:
        """The text of a descendant: each name is found below the one before. Empty where there is none."""
        found = self.find(*names)
        return (found.text or "").strip() if found is not None else ""

    def find(self, *names: str) -> Element | None:
        element: Element | None = self.operation
        for name in names:
            if element is None:
                return None
            element = next((item for item in element.iter() if local_name(item) == name), None)
        return element

    def texts(self, name: str) -> list[str]:
        return [(item.text or "").strip() for item in self.operation.iter() if local_name(item) == name]


Handler = Callable[[Call], "str | Awaitable[str]"]


class Service(Protocol):
    """`name` as in faults, `namespace` as in GetServices; an operation answers the inner XML of the body."""

    name: str
    namespace: str
    path: str
    operations: Mapping[str, Handler]


def parse_envelope(data: bytes) -> Element:
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - only tests call a simulated camera
    except ElementTree.ParseError as error:
        raise SoapFault(400, "ter:WellFormed", "The request is not XML.") from error


def operation_of(envelope: Element) -> Element:
    body = envelope.find(f"{{{SOAP}}}Body")
    if body is None or not len(body):
        raise SoapFault(400, "ter:WellFormed", "There is no operation in the body.")
    return body[0]


def local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def namespace_of(element: Element) -> str:
    return element.tag.rpartition("}")[0].removeprefix("{")


def duration_s(text: str, default_s: float) -> float:
    """xs:duration of hours, minutes and seconds; `default_s` for anything else."""
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        return default_s
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def build_envelope(body: str) -> str:
    declared = " ".join(f'xmlns:{prefix}="{namespace}"' for prefix, namespace in NAMESPACES.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope {declared}><s:Header/><s:Body>{body}</s:Body></s:Envelope>'
    )


def build_fault(fault: SoapFault) -> str:
    return (
        f"<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{fault.code}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{escape(fault.reason)}</s:Text></s:Reason></s:Fault>'
    )
