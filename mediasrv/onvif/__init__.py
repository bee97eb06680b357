"""Cameras over ONVIF: what a camera is, which of its profiles to pull, and which cameras there are.

    values.py     what is known of a device, as frozen values
    address.py    the address a person types; hosts that cameras behind NAT report
    xml_guard.py  no DTD, no entities, no other encoding than ASCII's relatives
    soap.py       SOAP over HTTP to allowed networks only; every failure as a CameraError
    device.py     `read_device`
    choice.py     `pick_streams`
    discovery.py  `discover`, by WS-Discovery

The SOAP library (`onvif-zeep-async`, module `onvif`) is imported on first use, in a thread: it takes half a second,
and on import it sets up the root logger unless somebody has done so before.
"""

from mediasrv.onvif.choice import pick_streams
from mediasrv.onvif.device import read_device
from mediasrv.onvif.discovery import discover
from mediasrv.onvif.values import Discovered, OnvifDevice, OnvifProfile, PickedStreams

__all__ = [
    "Discovered",
    "OnvifDevice",
    "OnvifProfile",
    "PickedStreams",
    "discover",
    "pick_streams",
    "read_device",
]
