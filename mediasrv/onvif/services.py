"""Which services a camera offers, and where. Pure."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from mediasrv.onvif.envelope import find, find_all, text_of
from mediasrv.onvif.requests import NAMESPACES
from mediasrv.onvif.values import Service

_BY_NAMESPACE: Final = {namespace: service for service, namespace in NAMESPACES.items()}
_CAPABILITIES: Final = {Service.MEDIA: "Media", Service.EVENTS: "Events", Service.PTZ: "PTZ"}


def parse_services(answer: Element) -> dict[Service, str]:
    """XAddrs of a GetServices answer, as the camera wrote them."""
    found: dict[Service, str] = {}
    for offered in find_all(answer, "Service"):
        service = _BY_NAMESPACE.get(text_of(offered, "Namespace"))
        if service is not None:
            found[service] = text_of(offered, "XAddr")
    return found


def parse_capabilities(answer: Element) -> dict[Service, str]:
    """XAddrs of a GetCapabilities answer: older cameras know nothing else, and it knows no ver20."""
    capabilities = find(answer, "Capabilities")
    found = {service: text_of(capabilities, name, "XAddr") for service, name in _CAPABILITIES.items()}
    return {service: url for service, url in found.items() if url}
