"""An ONVIF camera on loopback whose every answer a test can change: `camera.answers["GetProfiles"] = …`.

It knows clock, both media services, events by pull points and PTZ; it counts what it is asked and keeps who asked how.
The camera farm simulates cameras; this one simulates their faults, one answer at a time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from aiohttp import web

USERNAME: Final = "admin"
PASSWORD: Final = "camera-pass"
NAMESPACES: Final = {
    "device": "http://www.onvif.org/ver10/device/wsdl",
    "media": "http://www.onvif.org/ver10/media/wsdl",
    "media2": "http://www.onvif.org/ver20/media/wsdl",
    "events": "http://www.onvif.org/ver10/events/wsdl",
    "ptz": "http://www.onvif.org/ver20/ptz/wsdl",
}
_OPEN: Final = frozenset({"GetSystemDateAndTime", "GetServices", "GetCapabilities"})
_DECLARATIONS: Final = (
    'xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tt="http://www.onvif.org/ver10/schema" '
    'xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" xmlns:wsa="http://www.w3.org/2005/08/addressing" '
    'xmlns:tns1="http://www.onvif.org/ver10/topics" xmlns:ter="http://www.onvif.org/ver10/error" '
    'xmlns:dom0="http://www.axis.com/2009/event" '
)

Answer = str | bytes | web.Response | Callable[["Asked"], Any]


@dataclass(frozen=True)
class Asked:
    """One request."""

    operation: str
    element: Element
    envelope: Element
    path: str
    authorization: str

    @property
    def login(self) -> str:
        """The user name of its UsernameToken; empty without one."""
        return next((one.text or "" for one in self.envelope.iter() if _local(one) == "Username"), "")

    def text(self, name: str) -> str:
        return next((one.text or "" for one in self.element.iter() if _local(one) == name), "")

    def attributes(self, name: str) -> dict[str, str]:
        return next((dict(one.attrib) for one in self.element.iter() if _local(one) == name), {})


@dataclass
class Subscription:
    number: int
    waiting: list[str] = field(default_factory=list)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    alive: bool = True


class FakeCamera:
    """`services` are those it offers. `auth` is what it takes: any of wsse, basic; empty: no credentials."""

    def __init__(self, services: tuple[str, ...], auth: tuple[str, ...]) -> None:
        self.services = services
        self.auth = auth
        self.username, self.password = USERNAME, PASSWORD
        self.accounts: dict[str, str] = {}
        """Further accounts, for WS-Security."""
        self.offset_s = 0.0
        self.address = ""
        self.reported_host = ""
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.counts: Counter[str] = Counter()
        self.refusals = 0
        self.subscriptions: list[Subscription] = []
        self.state_messages: list[str] = []
        """What a new subscription hears first, as of properties."""
        self.lifetime_s = 60
        self.undeclared = False

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset_s)

    def notify(self, message: str) -> None:
        for one in self.subscriptions:
            if one.alive:
                one.waiting.append(message)
                one.woken.set()

    def forget_subscriptions(self) -> None:
        """As a camera that restarts: whoever pulls is told that there is no such subscription."""
        for one in self.subscriptions:
            one.alive = False
            one.woken.set()

    def asked_for(self, *operations: str) -> list[Asked]:
        return [one for one in self.asked if one.operation in operations]

    async def until(self, condition: Callable[[], object], within_s: float = 10.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - the camera's counters have no event
                await asyncio.sleep(0.01)

    # --- answering ------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        envelope = ElementTree.fromstring(await request.read())
        element = next(one for one in envelope if _local(one) == "Body")[0]
        asked = Asked(
            _local(element), element, envelope, request.path, request.headers.get("Authorization", "").partition(" ")[0]
        )
        self.asked.append(asked)
        self.counts[asked.operation] += 1
        refusal = self._refusal(asked, request)
        if refusal is not None:
            self.refusals += 1
            return refusal
        override = self.answers.get(asked.operation)
        if override is None:
            handler = getattr(self, f"_{asked.operation}", None)
            if handler is None:
                return fault("ter:ActionNotSupported", f"{asked.operation} is not supported.")
            override = await handler(asked)
        if callable(override):
            override = override(asked)
        if isinstance(override, Awaitable):
            override = await override
        if isinstance(override, web.Response):
            return override
        if isinstance(override, bytes):
            return web.Response(body=override, content_type="application/soap+xml")
        return self._response(asked, override)

    def _response(self, asked: Asked, inner: str) -> web.Response:
        namespace = asked.element.tag.partition("}")[0][1:]
        declarations = 'xmlns:s="http://www.w3.org/2003/05/soap-envelope"' if self.undeclared else _DECLARATIONS
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope {declarations}><s:Body>'
            f'<x:{asked.operation}Response xmlns:x="{namespace}">{inner}</x:{asked.operation}Response>'
            "</s:Body></s:Envelope>"
        )
        return web.Response(text=text, content_type="application/soap+xml")

    def _refusal(self, asked: Asked, request: web.Request) -> web.Response | None:
        if asked.operation in _OPEN or not self.auth:
            return None
        expected = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if "basic" in self.auth and request.headers.get("Authorization") == f"Basic {expected}":
            return None
        if "wsse" in self.auth and self._token_accepted(asked.envelope):
            return None
        if "basic" in self.auth:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="camera"'})
        return fault("ter:NotAuthorized", "Sender not authorized")

    def _token_accepted(self, envelope: Element) -> bool:
        found = {_local(one): one.text or "" for one in envelope.iter()}
        password = (self.accounts | {self.username: self.password}).get(found.get("Username", ""))
        if password is None:
            return False
        created = found["Created"]
        plain = base64.b64decode(found["Nonce"]) + created.encode() + password.encode()
        fresh = abs(datetime.fromisoformat(created) - self.now()) < timedelta(seconds=30)
        digest = base64.b64encode(hashlib.sha1(plain, usedforsecurity=False).digest()).decode()
        return fresh and found["Password"] == digest

    def url(self, path: str) -> str:
        host, _, port = self.address.partition(":")
        return f"http://{self.reported_host or host}:{port}{path}"

    # --- device ---------------------------------------------------------------------------------------

    async def _GetSystemDateAndTime(self, asked: Asked) -> str:  # noqa: N802
        now = self.now()
        return (
            "<tds:SystemDateAndTime xmlns:tds='x'><tt:DateTimeType>Manual</tt:DateTimeType>"
            "<tt:DaylightSavings>true</tt:DaylightSavings><tt:TimeZone><tt:TZ>ICT-7</tt:TZ></tt:TimeZone>"
            f"<tt:UTCDateTime><tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
            f"<tt:Second>{now.second}</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year>"
            f"<tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date></tt:UTCDateTime>"
            "</tds:SystemDateAndTime>"
        )

    async def _SetSystemDateAndTime(self, asked: Asked) -> str:  # noqa: N802
        if asked.text("DateTimeType") == "Manual":
            names = ("Year", "Month", "Day", "Hour", "Minute", "Second")
            wanted = datetime(*(int(asked.text(name)) for name in names), tzinfo=UTC)  # type: ignore[misc]
            self.offset_s = (wanted - datetime.now(UTC)).total_seconds()
        return ""

    async def _GetNTP(self, asked: Asked) -> str:  # noqa: N802
        return "<tds:NTPInformation xmlns:tds='x'><tt:FromDHCP>true</tt:FromDHCP></tds:NTPInformation>"

    async def _SetNTP(self, asked: Asked) -> str:  # noqa: N802
        return ""

    async def _GetServices(self, asked: Asked) -> str:  # noqa: N802
        return "".join(
            f"<tds:Service xmlns:tds='x'><tds:Namespace>{NAMESPACES[name]}</tds:Namespace>"
            f"<tds:XAddr>{self.url(f'/onvif/{name}')}</tds:XAddr></tds:Service>"
            for name in ("device", *self.services)
        )

    async def _GetCapabilities(self, asked: Asked) -> str:  # noqa: N802
        names = {"media": "Media", "events": "Events", "ptz": "PTZ"}
        offered = "".join(
            f"<tt:{names[name]}><tt:XAddr>{self.url(f'/onvif/{name}')}</tt:XAddr></tt:{names[name]}>"
            for name in self.services
            if name in names
        )
        return f"<tds:Capabilities xmlns:tds='x'>{offered}</tds:Capabilities>"

    async def _GetDeviceInformation(self, asked: Asked) -> str:  # noqa: N802
        return "<x:Manufacturer>Fake</x:Manufacturer><x:Model>F1</x:Model><x:FirmwareVersion>2.0</x:FirmwareVersion>"

    # --- media ----------------------------------------------------------------------------------------

    async def _GetProfiles(self, asked: Asked) -> str:  # noqa: N802
        if "ver20" in asked.element.tag:
            return self._profile2("p1", "H265", 3840, 2160) + self._profile2("p2", "H264", 640, 360)
        return self._profile1("p1", "H264", 1920, 1080) + self._profile1("p2", "H264", 640, 360)

    @staticmethod
    def _profile1(token: str, codec: str, width: int, height: int) -> str:
        return (
            f'<x:Profiles token="{token}"><tt:Name>{token}</tt:Name><tt:VideoEncoderConfiguration token="v">'
            f"<tt:Encoding>{codec}</tt:Encoding><tt:Resolution><tt:Width>{width}</tt:Width><tt:Height>{height}"
            "</tt:Height></tt:Resolution><tt:RateControl><tt:FrameRateLimit>25</tt:FrameRateLimit>"
            "<tt:BitrateLimit>2048</tt:BitrateLimit></tt:RateControl><tt:H264><tt:GovLength>50</tt:GovLength></tt:H264>"
            '</tt:VideoEncoderConfiguration><tt:PTZConfiguration token="z"/></x:Profiles>'
        )

    @staticmethod
    def _profile2(token: str, codec: str, width: int, height: int) -> str:
        return (
            f'<x:Profiles token="{token}" fixed="true"><x:Name>{token}</x:Name><x:Configurations>'
            f'<x:VideoEncoder token="v" GovLength="50"><tt:Encoding>{codec}</tt:Encoding><tt:Resolution>'
            f"<tt:Width>{width}</tt:Width><tt:Height>{height}</tt:Height></tt:Resolution>"
            '<tt:RateControl ConstantBitRate="false"><tt:FrameRateLimit>25.000000</tt:FrameRateLimit>'
            '<tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl></x:VideoEncoder><x:AudioEncoder token="a">'
            '<tt:Encoding>MP4A-LATM</tt:Encoding></x:AudioEncoder><x:PTZ token="z"/></x:Configurations></x:Profiles>'
        )

    async def _GetStreamUri(self, asked: Asked) -> str:  # noqa: N802
        uri = f"rtsp://{self.url('').split('/')[2].split(':')[0]}:554/{asked.text('ProfileToken')}"
        return (
            f"<x:Uri>{uri}</x:Uri>"
            if "ver20" in asked.element.tag
            else f"<x:MediaUri><tt:Uri>{uri}</tt:Uri></x:MediaUri>"
        )

    async def _GetSnapshotUri(self, asked: Asked) -> str:  # noqa: N802
        uri = self.url(f"/snapshot/{asked.text('ProfileToken')}")
        return (
            f"<x:Uri>{uri}</x:Uri>"
            if "ver20" in asked.element.tag
            else f"<x:MediaUri><tt:Uri>{uri}</tt:Uri></x:MediaUri>"
        )

    # --- events ---------------------------------------------------------------------------------------

    async def _CreatePullPointSubscription(self, asked: Asked) -> str:  # noqa: N802
        made = Subscription(len(self.subscriptions), list(self.state_messages))
        self.subscriptions.append(made)
        now = self.now().replace(microsecond=0)
        return (
            f"<x:SubscriptionReference><wsa:Address>{self.url('/onvif/subscription')}</wsa:Address>"
            f"<wsa:ReferenceParameters><dom0:SubscriptionId>{made.number}</dom0:SubscriptionId>"
            "</wsa:ReferenceParameters></x:SubscriptionReference>"
            f"<wsnt:CurrentTime>{now.isoformat()}</wsnt:CurrentTime><wsnt:TerminationTime>"
            f"{(now + timedelta(seconds=self.lifetime_s)).isoformat()}</wsnt:TerminationTime>"
        )

    def _subscription(self, asked: Asked) -> Subscription | None:
        """By the reference parameter, which must come back in the header."""
        found = {_local(one): one.text or "" for one in asked.envelope.iter()}
        number = int(found.get("SubscriptionId", "-1"))
        alive = 0 <= number < len(self.subscriptions) and self.subscriptions[number].alive
        return self.subscriptions[number] if alive else None

    async def _PullMessages(self, asked: Asked) -> str | web.Response:  # noqa: N802
        subscription = self._subscription(asked)
        if subscription is None:
            return fault("wsrf-rw:ResourceUnknownFault", "There is no such subscription.")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(asked.text("Timeout").strip("PTS"))):
                while not subscription.waiting and subscription.alive:
                    subscription.woken.clear()
                    await subscription.woken.wait()
        if not subscription.alive:
            return fault("wsrf-rw:ResourceUnknownFault", "There is no such subscription.")
        limit = int(asked.text("MessageLimit"))
        given, subscription.waiting[:limit] = subscription.waiting[:limit], []
        return f"<x:CurrentTime>{self.now().isoformat()}</x:CurrentTime>" + "".join(given)

    async def _Renew(self, asked: Asked) -> str | web.Response:  # noqa: N802
        if self._subscription(asked) is None:
            return fault("wsrf-rw:ResourceUnknownFault", "There is no such subscription.")
        now = self.now()
        return (
            f"<wsnt:TerminationTime>{(now + timedelta(seconds=self.lifetime_s)).isoformat()}</wsnt:TerminationTime>"
            f"<wsnt:CurrentTime>{now.isoformat()}</wsnt:CurrentTime>"
        )

    async def _Unsubscribe(self, asked: Asked) -> str:  # noqa: N802
        subscription = self._subscription(asked)
        if subscription is not None:
            subscription.alive = False
        return ""

    async def _SetSynchronizationPoint(self, asked: Asked) -> str:  # noqa: N802
        return ""

    # --- PTZ ------------------------------------------------------------------------------------------

    async def _GetNodes(self, asked: Asked) -> str:  # noqa: N802
        kinds = ("Continuous", "Velocity"), ("Relative", "Translation"), ("Absolute", "Position")
        spaces = [f"{move}{axis}{quantity}Space" for move, quantity in kinds for axis in ("PanTilt", "Zoom")]
        supported = "".join(f"<tt:{name}><tt:URI>generic</tt:URI></tt:{name}>" for name in spaces)
        return (
            f'<x:PTZNode token="n"><tt:Name>n</tt:Name><tt:SupportedPTZSpaces>{supported}</tt:SupportedPTZSpaces>'
            "<tt:MaximumNumberOfPresets>8</tt:MaximumNumberOfPresets></x:PTZNode>"
        )

    async def _nothing(self, asked: Asked) -> str:
        return ""

    _ContinuousMove = _RelativeMove = _AbsoluteMove = _Stop = _GotoPreset = _nothing

    async def _GetPresets(self, asked: Asked) -> str:  # noqa: N802
        return '<x:Preset token="1"><tt:Name>Gate</tt:Name></x:Preset><x:Preset token="2"/>'

    async def _SetPreset(self, asked: Asked) -> str:  # noqa: N802
        return "<x:PresetToken>3</x:PresetToken>"


def fault(code: str, reason: str, status: int = 400) -> web.Response:
    text = (
        f'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender'
        f"</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code><s:Reason><s:Text>{reason}</s:Text>"
        "</s:Reason></s:Fault></s:Body></s:Envelope>"
    )
    return web.Response(status=status, text=text, content_type="application/soap+xml")


def notification(
    topic: str, state: str, value: str, source: str = "source-1", operation: str = "Changed", at: str = ""
) -> str:
    """A NotificationMessage as a camera writes it."""
    at = at or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        '<wsnt:NotificationMessage><wsnt:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">'
        f'{topic}</wsnt:Topic><wsnt:Message><tt:Message UtcTime="{at}" PropertyOperation="{operation}"><tt:Source>'
        f'<tt:SimpleItem Name="Source" Value="{source}"/></tt:Source><tt:Data><tt:SimpleItem Name="{state}" '
        f'Value="{value}"/></tt:Data></tt:Message></wsnt:Message></wsnt:NotificationMessage>'
    )


@contextlib.asynccontextmanager
async def fake_camera(
    *services: str, auth: tuple[str, ...] = ("wsse",), host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[FakeCamera]:
    """A camera that offers these services; `device` comes unasked."""
    camera = FakeCamera(services or ("media", "events", "ptz"), auth)
    app = web.Application()
    app.router.add_post("/onvif/{service}", camera.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        camera.address = f"{host}:{runner.addresses[0][1]}"
        yield camera
    finally:
        camera.forget_subscriptions()
        await runner.cleanup()


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
