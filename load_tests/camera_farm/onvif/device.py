"""The device service (ONVIF Core, 8): what it is, what it has, and what time it is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from load_tests.camera_farm.onvif.face import DEVICE_PATH, OnvifCamera, service_url
from load_tests.camera_farm.onvif.soap import NAMESPACES, Call, Handler, Service, SoapFault


class DeviceService:
    """`offered` gives the services that the camera has at the moment."""

    name, namespace, path = "device", NAMESPACES["tds"], DEVICE_PATH

    def __init__(self, camera: OnvifCamera, offered: Callable[[], Sequence[Service]]) -> None:
        self._camera, self._offered = camera, offered
        self._time_by_ntp = True
        self._ntp_server = ""
        self.operations: Mapping[str, Handler] = {
            "GetSystemDateAndTime": self._date_and_time,
            "SetSystemDateAndTime": self._set_date_and_time,
            "GetNTP": self._ntp,
            "SetNTP": self._set_ntp,
            "GetDeviceInformation": self._device_information,
            "GetCapabilities": self._capabilities,
            "GetServices": self._services,
            "GetScopes": self._scopes,
        }

    def _date_and_time(self, _call: Call) -> str:
        now = self._camera.now()
        return (
            "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime>"
            f"<tt:DateTimeType>{'NTP' if self._time_by_ntp else 'Manual'}</tt:DateTimeType>"
            "<tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone><tt:UTCDateTime>"
            f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute><tt:Second>{now.second}</tt:Second></tt:Time>"
            f"<tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date>"
            "</tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
        )

    def _set_date_and_time(self, call: Call) -> str:
        """Set by hand, or true from now on where it is to come by NTP: the simulated server is always right."""
        self._time_by_ntp = call.text("DateTimeType") == "NTP"
        given = _utc_of(call)
        if self._time_by_ntp:
            self._show(time.time())
        elif given is not None:
            self._show(given.timestamp())
        else:
            raise SoapFault(400, "ter:InvalidDateTime", "An invalid date or time was specified.")
        return "<tds:SetSystemDateAndTimeResponse/>"

    def _show(self, wall_s: float) -> None:
        self._camera.clock.show(wall_s, asyncio.get_running_loop().time())

    def _ntp(self, _call: Call) -> str:
        manual = ""
        if self._ntp_server:
            kind = "IPv4" if self._ntp_server.replace(".", "").isdigit() else "DNS"
            tag = "IPv4Address" if kind == "IPv4" else "DNSname"
            server = escape(self._ntp_server)
            manual = f"<tt:NTPManual><tt:Type>{kind}</tt:Type><tt:{tag}>{server}</tt:{tag}></tt:NTPManual>"
        information = f"<tds:NTPInformation><tt:FromDHCP>false</tt:FromDHCP>{manual}</tds:NTPInformation>"
        return f"<tds:GetNTPResponse>{information}</tds:GetNTPResponse>"

    def _set_ntp(self, call: Call) -> str:
        self._ntp_server = call.text("NTPManual", "IPv4Address") or call.text("NTPManual", "DNSname")
        if self._time_by_ntp:
            self._show(time.time())
        return "<tds:SetNTPResponse/>"

    def _device_information(self, _call: Call) -> str:
        face = self._camera.face
        return (
            "<tds:GetDeviceInformationResponse>"
            f"<tds:Manufacturer>{escape(face.manufacturer)}</tds:Manufacturer><tds:Model>{escape(face.model)}</tds:Model>"
            f"<tds:FirmwareVersion>{escape(face.firmware)}</tds:FirmwareVersion>"
            f"<tds:SerialNumber>{face.camera_id}</tds:SerialNumber><tds:HardwareId>{face.camera_id}</tds:HardwareId>"
            "</tds:GetDeviceInformationResponse>"
        )

    def _capabilities(self, call: Call) -> str:
        offered = {service.name: self._url(service, call) for service in self._offered()}
        parts = [f"<tt:Device><tt:XAddr>{offered['device']}</tt:XAddr></tt:Device>"]
        if "events" in offered:
            parts.append(
                f"<tt:Events><tt:XAddr>{offered['events']}</tt:XAddr>"
                "<tt:WSSubscriptionPolicySupport>false</tt:WSSubscriptionPolicySupport>"
                "<tt:WSPullPointSupport>true</tt:WSPullPointSupport>"
                "<tt:WSPausableSubscriptionManagerInterfaceSupport>false"
                "</tt:WSPausableSubscriptionManagerInterfaceSupport></tt:Events>"
            )
        if "media" in offered:
            parts.append(
                f"<tt:Media><tt:XAddr>{offered['media']}</tt:XAddr><tt:StreamingCapabilities>"
                "<tt:RTPMulticast>false</tt:RTPMulticast><tt:RTP_TCP>true</tt:RTP_TCP>"
                "<tt:RTP_RTSP_TCP>true</tt:RTP_RTSP_TCP></tt:StreamingCapabilities></tt:Media>"
            )
        if "ptz" in offered:
            parts.append(f"<tt:PTZ><tt:XAddr>{offered['ptz']}</tt:XAddr></tt:PTZ>")
        capabilities = f"<tds:Capabilities>{''.join(parts)}</tds:Capabilities>"
        return f"<tds:GetCapabilitiesResponse>{capabilities}</tds:GetCapabilitiesResponse>"

    def _services(self, call: Call) -> str:
        services = "".join(
            f"<tds:Service><tds:Namespace>{service.namespace}</tds:Namespace>"
            f"<tds:XAddr>{self._url(service, call)}</tds:XAddr>"
            "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
            for service in self._offered()
        )
        return f"<tds:GetServicesResponse>{services}</tds:GetServicesResponse>"

    def _url(self, service: Service, call: Call) -> str:
        return service_url(self._camera, service.path, call.host)

    def _scopes(self, _call: Call) -> str:
        face = self._camera.face
        names = [f"name/{quote(face.name)}", f"hardware/{quote(face.model)}"]
        names += [f"Profile/{profile}" for profile in face.profiles]
        scopes = "".join(
            "<tds:Scopes><tt:ScopeDef>Fixed</tt:ScopeDef>"
            f"<tt:ScopeItem>onvif://www.onvif.org/{name}</tt:ScopeItem></tds:Scopes>"
            for name in names
        )
        return f"<tds:GetScopesResponse>{scopes}</tds:GetScopesResponse>"


def _utc_of(call: Call) -> datetime | None:
    try:
        year, month, day = (int(call.text("UTCDateTime", "Date", name)) for name in ("Year", "Month", "Day"))
        hour, minute, second = (int(call.text("UTCDateTime", "Time", name)) for name in ("Hour", "Minute", "Second"))
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
