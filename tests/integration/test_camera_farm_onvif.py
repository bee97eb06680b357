"""The simulated cameras' ONVIF, read by onvif-zeep-async, which knows the WSDLs; and what faults make of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import aiohttp
import av
import pytest
from onvif import ONVIFCamera
from onvif.exceptions import ONVIFError

from load_tests.camera_farm.process import FarmProcess
from tests.integration.farm_client import OPEN, SMALL, ffprobe, pulling, until

MAIN = {"ProfileToken": "profile-main"}
SOAP = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header>{head}</s:Header>'
    "<s:Body>{body}</s:Body></s:Envelope>"
)
DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"


@contextlib.asynccontextmanager
async def client(farm: FarmProcess, camera_id: str = "cam-1") -> AsyncIterator[ONVIFCamera]:
    camera = await farm.camera(camera_id)
    login = (camera["username"], camera["password"])
    one = ONVIFCamera("127.0.0.1", camera["onvif_port"], *login, no_cache=True)
    try:
        await one.update_xaddrs()
        yield one
    finally:
        await one.close()


async def post(farm: FarmProcess, path: str, body: str, **options: Any) -> tuple[int, str]:
    """One operation without credentials."""
    url = f"http://{farm.cameras[0]['onvif_address']}/onvif/{path}"
    text = SOAP.format(head="", body=body)
    async with aiohttp.ClientSession() as http, http.post(url, data=text, **options) as answer:
        return answer.status, await answer.text()


async def test_every_service_that_is_offered_answers_as_its_wsdl_says() -> None:
    options = {**OPEN, "ptz": "on", "metadata": "on", "media_services": "media,media2"}
    async with FarmProcess(cameras=1, **options) as farm, client(farm) as camera:
        device, media = await camera.create_devicemgmt_service(), await camera.create_media_service()
        information = await device.GetDeviceInformation()
        assert (information.Model, information.SerialNumber) == ("Simulated ONVIF camera", "cam-1")
        scopes = [scope.ScopeItem for scope in await device.GetScopes()]
        assert {"onvif://www.onvif.org/Profile/Streaming", "onvif://www.onvif.org/Profile/T"} < set(scopes)
        services = {
            service.Namespace.split("/")[-2] for service in await device.GetServices({"IncludeCapability": False})
        }
        assert services == {"device", "media", "events", "ptz"}
        capabilities = await device.GetCapabilities({"Category": "All"})
        assert capabilities.PTZ.XAddr.endswith("/ptz_service")
        main, sub = await media.GetProfiles()
        assert (main.token, sub.token) == ("profile-main", "profile-sub")
        assert main.MetadataConfiguration.token == "metadata-main"
        assert (await media.GetProfile(MAIN)).VideoEncoderConfiguration.Resolution.Width == 320
        [source] = await media.GetVideoSources()
        assert source.token == main.VideoSourceConfiguration.SourceToken
        [node] = await (await camera.create_ptz_service()).GetNodes()
        assert node.SupportedPTZSpaces.AbsoluteZoomPositionSpace[0].XRange.Max == 1


async def test_the_clock_is_read_set_and_kept_by_ntp() -> None:
    async with FarmProcess(cameras=1, fault="cam-1:clock", onvif_auth="none", **OPEN) as farm, client(farm) as camera:
        device = await camera.create_devicemgmt_service()
        told = (await device.GetSystemDateAndTime()).UTCDateTime
        assert (told.Date.Year, told.Date.Month, told.Date.Day) == (2000, 1, 1)
        date = {"Year": 2030, "Month": 5, "Day": 6}
        time_of_day = {"Hour": 7, "Minute": 8, "Second": 9}
        wish = {"DateTimeType": "Manual", "DaylightSavings": False, "UTCDateTime": {"Date": date, "Time": time_of_day}}
        await device.SetSystemDateAndTime(wish)
        assert (await device.GetSystemDateAndTime()).DateTimeType == "Manual"
        assert (await farm.camera("cam-1"))["clock"]["now"].startswith("2030-05-06T07:08:")
        await device.SetNTP({"FromDHCP": False, "NTPManual": [{"Type": "DNS", "DNSname": "time.example"}]})
        [server] = (await device.GetNTP()).NTPManual
        assert server.DNSname == "time.example"
        await device.SetSystemDateAndTime({"DateTimeType": "NTP", "DaylightSavings": False})
        assert abs((await farm.camera("cam-1"))["clock"]["offset_s"]) < 1


async def test_a_camera_of_profile_t_tells_its_streams_by_media2_alone() -> None:
    options = {**OPEN, "media_services": "media2", "codec": "h265", "audio": "opus", "tls": "on", "onvif_auth": "none"}
    async with FarmProcess(cameras=1, **options) as farm:
        _, services = await post(farm, "device_service", f'<GetServices xmlns="{DEVICE}"/>')
        assert "/onvif/media2_service<" in services
        assert "/onvif/media_service<" not in services
        profiles = f'<GetProfiles xmlns="{MEDIA2}">{{}}</GetProfiles>'
        _, bare = await post(farm, "media2_service", profiles.format(""))
        assert "Encoding" not in bare
        _, text = await post(
            farm, "media2_service", profiles.format("<Type>VideoEncoder</Type><Type>AudioEncoder</Type>")
        )
        found = [item.text for item in ElementTree.fromstring(text).iter() if item.tag.endswith("}Encoding")]
        assert found == ["H265", "OPUS"] * 2
        assert "tr2:VideoSource" not in text
        for protocol, url in (("RTSP", farm.url("cam-1")), ("RtspsUnicast", farm.url("cam-1", tls=True))):
            body = f"<Protocol>{protocol}</Protocol><ProfileToken>profile-main</ProfileToken>"
            _, text = await post(farm, "media2_service", f'<GetStreamUri xmlns="{MEDIA2}">{body}</GetStreamUri>')
            assert f"<tr2:Uri>{url}</tr2:Uri>" in text


@pytest.mark.parametrize("mode", ["load", "demo"])
async def test_a_snapshot_is_a_jpeg_for_who_may_see_it(mode: str) -> None:
    async with FarmProcess(cameras=1, mode=mode, **OPEN) as farm, client(farm) as camera:
        uri = (await (await camera.create_media_service()).GetSnapshotUri(MAIN)).Uri
        async with aiohttp.ClientSession() as http:
            async with http.get(uri) as answer:
                assert answer.status == 401
            digest = aiohttp.DigestAuthMiddleware("admin", "camera-farm")
            async with http.get(uri, middlewares=(digest,)) as answer:
                assert answer.content_type == "image/jpeg"
                picture = next(av.open(io.BytesIO(await answer.read())).decode(video=0))
        assert (picture.width, picture.height) == (320, 180)
        assert (await farm.camera("cam-1"))["counts"]["snapshots"] == 1


async def test_a_ptz_camera_moves_stops_and_remembers() -> None:
    async with FarmProcess(cameras=1, ptz="on", **OPEN) as farm, client(farm) as camera:
        ptz = await camera.create_ptz_service()

        async def position() -> tuple[float, float, float]:
            status = await ptz.GetStatus(MAIN)
            at = status.Position
            return round(at.PanTilt.x, 2), round(at.PanTilt.y, 2), round(at.Zoom.x, 2)

        async def standing() -> tuple[float, float, float]:
            async with asyncio.timeout(5):
                while (await ptz.GetStatus(MAIN)).MoveStatus.PanTilt == "MOVING":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            return await position()

        await ptz.AbsoluteMove(MAIN | {"Position": {"PanTilt": {"x": 0.5, "y": -0.25}, "Zoom": {"x": 0.5}}})
        assert await standing() == (0.5, -0.25, 0.5)
        token = await ptz.SetPreset(MAIN | {"PresetName": "gate & yard"})
        await ptz.RelativeMove(MAIN | {"Translation": {"PanTilt": {"x": -0.25, "y": 0.0}}})
        assert await standing() == (0.25, -0.25, 0.5)
        to_the_right = {"Velocity": {"PanTilt": {"x": 1.0, "y": 0.0}}, "Timeout": timedelta(seconds=0.2)}
        await ptz.ContinuousMove(MAIN | to_the_right)
        pan, tilt, _ = await standing()
        assert (pan, tilt) == (0.45, -0.25)
        await ptz.ContinuousMove(MAIN | {"Velocity": {"PanTilt": {"x": -0.5, "y": 0.0}}})
        await ptz.Stop(MAIN | {"PanTilt": True, "Zoom": True})
        assert await position() == await position()
        [preset] = await ptz.GetPresets(MAIN)
        assert (preset.token, preset.Name) == (token, "gate & yard")
        await ptz.GotoPreset(MAIN | {"PresetToken": token})
        assert await standing() == (0.5, -0.25, 0.5)
        with pytest.raises(Exception, match="preset token does not exist"):
            await ptz.GotoPreset(MAIN | {"PresetToken": "no-such"})
        state = await farm.camera("cam-1")
        assert state["ptz"]["position"] == {"pan": 0.5, "tilt": -0.25, "zoom": 0.5}
        assert state["counts"]["onvif"]["ContinuousMove"] == 2


async def test_a_pull_point_tells_states_changes_and_nothing_else() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, client(farm) as camera:
        events = await camera.create_events_service()
        assert (await events.GetEventProperties()).FixedTopicSet
        manager = await camera.create_pullpoint_manager(timedelta(seconds=60), lambda: None)
        point = manager.get_service()
        first = await point.PullMessages({"MessageLimit": 4, "Timeout": timedelta(seconds=1)})
        rest = await point.PullMessages({"MessageLimit": 10, "Timeout": timedelta(seconds=1)})
        assert (len(first.NotificationMessage), len(rest.NotificationMessage)) == (4, 2)
        begun = time.monotonic()
        nothing = await point.PullMessages({"MessageLimit": 9, "Timeout": timedelta(seconds=0.5)})
        assert not nothing.NotificationMessage
        assert time.monotonic() - begun > 0.4
        waiting = asyncio.create_task(point.PullMessages({"MessageLimit": 9, "Timeout": timedelta(seconds=10)}))
        for topic in ("motion", "tamper", "digital_input", "storage"):
            await farm.event("cam-1", topic)
        told = list((await waiting).NotificationMessage)
        if len(told) < 4:
            more = await point.PullMessages({"MessageLimit": 9, "Timeout": timedelta(seconds=2)})
            told += more.NotificationMessage
        topics = [one.Topic._value_1.split("/")[-1] for one in told]
        assert topics == ["Motion", "Tamper", "DigitalInput", "StorageFailure"]
        assert {one.Message._value_1.PropertyOperation for one in told} == {"Changed"}
        await point.SetSynchronizationPoint()
        again = await point.PullMessages({"MessageLimit": 10, "Timeout": timedelta(seconds=1)})
        states = [one.Message._value_1.Data.SimpleItem[0].Value for one in again.NotificationMessage]
        assert states == ["true", "false", "true", "false", "true", "true"]
        assert (await farm.camera("cam-1"))["onvif"]["pull_points"] == 1
        await manager.shutdown()
        assert (await farm.camera("cam-1"))["onvif"]["pull_points"] == 0


async def test_a_pull_point_ends_unless_it_is_renewed() -> None:
    async with FarmProcess(cameras=1, onvif_auth="none", **OPEN) as farm:
        create = '<CreatePullPointSubscription xmlns="http://www.onvif.org/ver10/events/wsdl">{}</CreatePullPointSubscription>'
        wish = "<InitialTerminationTime>PT0.4S</InitialTerminationTime>"
        _, text = await post(farm, "event_service", create.format(wish))
        path = text.split("/onvif/")[-1].split("<")[0]
        wsnt = "http://docs.oasis-open.org/wsn/b-2"
        renew = f'<Renew xmlns="{wsnt}"><TerminationTime>PT0.4S</TerminationTime></Renew>'
        for _ in range(4):
            await asyncio.sleep(0.2)
            assert (await post(farm, path, renew))[0] == 200
        await asyncio.sleep(0.6)
        status, text = await post(farm, path, renew)
        assert status == 400
        assert "ResourceUnknownFault" in text
        assert (await farm.camera("cam-1"))["onvif"]["pull_points"] == 0


async def test_a_synchronisation_point_makes_the_next_picture_a_keyframe() -> None:
    async with FarmProcess(cameras=1, **{**OPEN, "gop": 20}) as farm, client(farm) as camera:
        media = await camera.create_media_service()
        async with pulling(farm.url("cam-1")) as one:
            await one.play((0,))
            state = await until(lambda state: state["streams"]["main"]["units_sent"] > 5, farm, "cam-1")
            assert state["streams"]["main"]["sessions"][0]["first_keyframe"] is None
            await media.SetSynchronizationPoint(MAIN)
            await until(lambda state: state["streams"]["main"]["sessions"][0]["first_keyframe"], farm, "cam-1")


@pytest.mark.parametrize("kind", ["wsse", "wsse-text", "digest", "digest-sha256", "basic"])
async def test_credentials_of_each_kind_are_taken_and_wrong_ones_counted(kind: str) -> None:
    async with FarmProcess(cameras=1, onvif_auth=kind, **SMALL) as farm:
        assert await asked(farm, kind, "camera-farm") == 200
        assert await asked(farm, kind, "wrong") in (400, 401)
        await farm.fault("cam-1", "wrong_password")
        assert await asked(farm, kind, "camera-farm") in (400, 401)
        assert (await farm.camera("cam-1"))["counts"]["auth_failures"] == {"onvif": 2}


async def asked(farm: FarmProcess, kind: str, password: str) -> int:
    """The status of GetDeviceInformation with credentials of this kind."""
    body = f'<GetDeviceInformation xmlns="{DEVICE}"/>'
    url = f"http://{farm.cameras[0]['onvif_address']}/onvif/device_service"
    options: dict[str, Any] = {}
    head = token(password, text=kind == "wsse-text") if kind.startswith("wsse") else ""
    if kind == "basic":
        options["headers"] = {"Authorization": aiohttp.encode_basic_auth("admin", password)}
    elif kind.startswith("digest"):
        options["middlewares"] = (aiohttp.DigestAuthMiddleware("admin", password, preemptive=False),)
    data = SOAP.format(head=head, body=body)
    async with aiohttp.ClientSession() as http, http.post(url, data=data, **options) as answer:
        return answer.status


def token(password: str, *, text: bool) -> str:
    """A WS-Security UsernameToken."""
    nonce, created = b"0123456789abcdef", datetime.now(UTC).isoformat()
    plain = nonce + created.encode() + password.encode()
    digest = base64.b64encode(hashlib.sha1(plain, usedforsecurity=False).digest()).decode()
    kind = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#Password"
    base = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity"
    return (
        f'<Security xmlns="{base}-secext-1.0.xsd"><UsernameToken><Username>admin</Username>'
        f'<Password Type="{kind}{"Text" if text else "Digest"}">{password if text else digest}</Password>'
        f"<Nonce>{base64.b64encode(nonce).decode()}</Nonce>"
        f'<Created xmlns="{base}-utility-1.0.xsd">{created}</Created></UsernameToken></Security>'
    )


async def test_an_empty_password_is_a_password_and_an_open_camera_wants_none() -> None:
    changes = ["cam-1:password=", "cam-2:onvif-auth=none,rtsp-auth=none"]
    async with FarmProcess(cameras=2, set=changes, **SMALL) as farm:
        for camera_id in ("cam-1", "cam-2"):
            async with client(farm, camera_id) as camera:
                information = await (await camera.create_devicemgmt_service()).GetDeviceInformation()
                assert information.SerialNumber == camera_id
        assert (await ffprobe(farm.url("cam-2")))[0] == 0
        assert (await ffprobe(farm.url("cam-1", credentials=True)))[0] == 0


async def test_a_service_that_is_missing_is_not_offered_and_not_there_while_others_are() -> None:
    async with FarmProcess(cameras=1, onvif_auth="none", **OPEN) as farm:
        await farm.fault("cam-1", "onvif_missing", services="events")
        _, text = await post(farm, "device_service", f'<GetServices xmlns="{DEVICE}"/>')
        assert "/onvif/event_service<" not in text
        assert "/onvif/media_service<" in text
        properties = '<GetEventProperties xmlns="http://www.onvif.org/ver10/events/wsdl"/>'
        assert (await post(farm, "event_service", properties))[0] == 404
        media = '<GetProfiles xmlns="http://www.onvif.org/ver10/media/wsdl"/>'
        assert (await post(farm, "media_service", media))[0] == 200
        await farm.fault("cam-1", "onvif_missing", on=False)
        assert (await post(farm, "event_service", properties))[0] == 200


async def test_broken_answers_of_one_service_leave_the_others_whole() -> None:
    async with FarmProcess(cameras=1, onvif_auth="none", **OPEN) as farm:
        await farm.fault("cam-1", "onvif_broken", services="media")
        media = '<GetProfiles xmlns="http://www.onvif.org/ver10/media/wsdl"/>'
        with pytest.raises(ElementTree.ParseError):
            ElementTree.fromstring((await post(farm, "media_service", media))[1])
        _, text = await post(farm, "device_service", f'<GetScopes xmlns="{DEVICE}"/>')
        ElementTree.fromstring(text)
        await farm.fault("cam-1", "onvif_undeclared")
        _, text = await post(farm, "device_service", f'<GetScopes xmlns="{DEVICE}"/>')
        with pytest.raises(ElementTree.ParseError, match="unbound prefix"):
            ElementTree.fromstring(text)


async def test_slow_answers_of_one_operation() -> None:
    async with FarmProcess(cameras=1, onvif_auth="none", **OPEN) as farm:
        await farm.fault("cam-1", "onvif_slow", delay_s=0.6, only=["GetScopes"])
        begun = time.monotonic()
        await post(farm, "device_service", f'<GetServices xmlns="{DEVICE}"/>')
        assert time.monotonic() - begun < 0.5
        await post(farm, "device_service", f'<GetScopes xmlns="{DEVICE}"/>')
        assert time.monotonic() - begun > 0.6


async def test_xml_bombs_are_what_they_are_called() -> None:
    async with FarmProcess(cameras=1, onvif_auth="none", **OPEN) as farm:
        body = f'<GetScopes xmlns="{DEVICE}"/>'

        async def answer(bomb: str) -> str:
            await farm.fault("cam-1", "onvif_bomb", bomb=bomb)
            return (await post(farm, "device_service", body))[1]

        assert (await answer("entities")).count("<!ENTITY") == 10
        external = await answer("external")
        url = external.split('SYSTEM "')[1].split('"')[0]
        async with aiohttp.ClientSession() as http, http.get(url) as fetched:
            assert "outside" in await fetched.text()
        assert (await farm.camera("cam-1"))["counts"]["onvif"]["external.dtd"] == 1
        assert (await answer("deep")).count("<a>") == 200_000
        assert len(await answer("huge")) > 60_000_000
        await farm.fault("cam-1", "onvif_bomb", bomb="trickle")
        with pytest.raises(TimeoutError):
            await post(farm, "device_service", body, timeout=aiohttp.ClientTimeout(total=1))
        await farm.fault("cam-1", "onvif_bomb", on=False)
        ElementTree.fromstring((await post(farm, "device_service", body))[1])


async def test_a_bomb_does_not_stop_the_other_cameras() -> None:
    async with FarmProcess(cameras=2, fault="cam-1:onvif_bomb,bomb=huge", **OPEN) as farm:
        with contextlib.suppress(ONVIFError, aiohttp.ClientError):
            async with asyncio.timeout(5), client(farm):
                pass
        async with client(farm, "cam-2") as camera:
            assert await (await camera.create_media_service()).GetProfiles()
