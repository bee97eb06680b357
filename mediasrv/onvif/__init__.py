"""Cameras over ONVIF."""

from mediasrv.onvif.choice import pick_streams
from mediasrv.onvif.device import read_device
from mediasrv.onvif.discovery import discover
from mediasrv.onvif.values import Discovered, OnvifDevice, PickedStreams, Service, ServiceState

__all__ = [
    "Discovered",
    "OnvifDevice",
    "PickedStreams",
    "Service",
    "ServiceState",
    "discover",
    "pick_streams",
    "read_device",
]
