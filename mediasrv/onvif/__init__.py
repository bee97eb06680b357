"""Cameras over ONVIF: which there are, what each is, which of its profiles to pull; their clocks, events and PTZ.

values.py         what is known of a device, as frozen values
address.py        the address a person types; hosts that cameras behind NAT report
targets.py        lists of them: ranges, networks, tables
discovery.py      `discover` by multicast, `probe_addresses` one by one
device.py         `read_device`: a camera read once, for adding it and for a survey
choice.py         `pick_streams`
passwords.py      empty and factory passwords
fleet.py          `OnvifFleet`: the cameras in service
  camera.py         one of them: its clock, its events
  pullpoint.py      events: subscribe, pull, renew, subscribe anew
  ptz_desk.py       who moves which camera
session.py        one camera's services: where they are, how each is doing
  soap.py           SOAP over HTTP to allowed networks only; every failure as a CameraError
  requests.py       what we send, by the SOAP library
Pure, from answers to values: xml_guard.py envelope.py services.py media.py camera_time.py notifications.py ptz.py
"""

from mediasrv.onvif.address import parse_address, split_login
from mediasrv.onvif.camera import ClockState
from mediasrv.onvif.choice import largest_streams, pick_streams
from mediasrv.onvif.device import read_device
from mediasrv.onvif.discovery import discover, probe_addresses
from mediasrv.onvif.fleet import OnvifFleet
from mediasrv.onvif.ptz import Axes, Move, Preset, PtzAbility, Vector
from mediasrv.onvif.ptz_desk import Holder, PtzDesk
from mediasrv.onvif.requests import Login
from mediasrv.onvif.targets import Target, parse_devices, parse_table, parse_targets, with_login
from mediasrv.onvif.values import Discovered, OnvifDevice, PickedStreams, Service, ServiceState

__all__ = [
    "Axes",
    "ClockState",
    "Discovered",
    "Holder",
    "Login",
    "Move",
    "OnvifDevice",
    "OnvifFleet",
    "PickedStreams",
    "Preset",
    "PtzAbility",
    "PtzDesk",
    "Service",
    "ServiceState",
    "Target",
    "Vector",
    "discover",
    "largest_streams",
    "parse_address",
    "parse_devices",
    "parse_table",
    "parse_targets",
    "pick_streams",
    "probe_addresses",
    "read_device",
    "split_login",
    "with_login",
]
