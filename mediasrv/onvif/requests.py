"""SOAP requests, written by the SOAP library from the services' WSDLs; each WSDL is read once a process.

The library (`onvif-zeep-async`, module `onvif`) is imported on first use, in a thread: that takes a quarter of a
second, and on import it sets up the root logger unless somebody has done so before. Of it we take definitions,
WS-Security and WS-Addressing; its transport, its objects a camera and its reading of answers stay out
(docs/adr/011-onvif-answers-by-local-names.md).
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mediasrv.onvif.values import Service

NAMESPACES: Final = {
    Service.DEVICE: "http://www.onvif.org/ver10/device/wsdl",
    Service.MEDIA: "http://www.onvif.org/ver10/media/wsdl",
    Service.MEDIA2: "http://www.onvif.org/ver20/media/wsdl",
    Service.EVENTS: "http://www.onvif.org/ver10/events/wsdl",
    Service.PTZ: "http://www.onvif.org/ver20/ptz/wsdl",
}
_MEDIA2: Final = Path(__file__).with_name("media2.wsdl")
"""The library brings no definition of this service."""
_DEFINED_IN: Final = {
    Service.DEVICE: ("devicemgmt.wsdl", ("DeviceBinding",)),
    Service.MEDIA: ("media.wsdl", ("MediaBinding",)),
    Service.EVENTS: ("events.wsdl", ("EventBinding", "PullPointSubscriptionBinding", "SubscriptionManagerBinding")),
    Service.PTZ: ("ptz.wsdl", ("PTZBinding",)),
    Service.MEDIA2: (str(_MEDIA2), ("Media2Binding",)),
}
_WSA: Final = "http://www.w3.org/2005/08/addressing"


@dataclass(frozen=True, slots=True)
class Login:
    """False where there is none."""

    username: str = ""
    password: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username)


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP POST."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Definition:
    """What writes requests to a service. It knows no camera."""

    client: Any
    bindings: Sequence[Any]

    def binding(self, operation: str) -> Any:
        return next(binding for binding in self.bindings if operation in binding.all())


_definitions: Final[dict[Service, _Definition]] = {}
_reading: Final = threading.Lock()


async def build_request(
    service: Service,
    url: str,
    operation: str,
    parameters: Mapping[str, Any],
    login: Login,
    clock_skew: timedelta | None = None,
    reference: Sequence[Element] = (),
) -> Request:
    """A request to `url`, with a UsernameToken by the camera's own time where there is a login.

    `reference` are an endpoint's reference parameters, which go back to it in the header (WS-Addressing 1.0, SOAP
    binding, 2.3). Raises ValueError for text that cannot stand in XML.
    """
    definition = _definitions.get(service)
    if definition is None:
        definition = await asyncio.to_thread(_read_definition, service)
    client, options = definition.client, {"address": url}
    envelope, headers = definition.binding(operation)._create(operation, (), dict(parameters), client, options)
    _add_reference(envelope, reference)
    if login:
        token = importlib.import_module("onvif.client").UsernameDigestTokenDtDiff
        envelope, headers = token(login.username, login.password, clock_skew, use_digest=True).apply(envelope, headers)
    return Request(importlib.import_module("zeep.wsdl.utils").etree_to_string(envelope), headers)


def _add_reference(envelope: Any, reference: Sequence[Element]) -> None:
    if not reference:
        return
    header = importlib.import_module("zeep.wsdl.utils").get_or_create_header(envelope)
    for parameter in reference:
        copied = importlib.import_module("lxml.etree").fromstring(ElementTree.tostring(parameter))
        copied.set(f"{{{_WSA}}}IsReferenceParameter", "true")
        header.append(copied)


def _read_definition(service: Service) -> _Definition:
    """Blocks: the library and a WSDL, a tenth of a second each the first time."""
    library = importlib.import_module("onvif.client")
    with _reading:
        if service not in _definitions:
            name, bindings = _DEFINED_IN[service]
            transport = importlib.import_module("onvif.transport").ASYNC_TRANSPORT  # reads files, never a network
            document = importlib.import_module("zeep.wsdl").Document(str(Path(library._WSDL_PATH, name)), transport)
            client = library.ZeepAsyncClient(
                wsdl=document, transport=transport, plugins=[library.WsAddressingIfMissingPlugin()]
            )
            found = [document.bindings[f"{{{NAMESPACES[service]}}}{binding}"] for binding in bindings]
            _definitions[service] = _Definition(client, found)
        return _definitions[service]
