"""The simulated cameras' RTSP: transports, authentication, addresses, sessions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl

import pytest

from load_tests.camera_farm.counters import read_audio_counter
from load_tests.camera_farm.process import FarmProcess
from tests.integration.farm_client import (
    OPEN,
    SMALL,
    TCP,
    Puller,
    ffprobe,
    pulling,
    sequences,
    steps,
    udp_track,
    until,
)

MULTICAST = "RTP/AVP;multicast"


async def answer_to(one: Puller, method: str, user: str, password: str, challenge: str, algorithm: str) -> str:
    """The camera's answer to a request with Digest credentials (RFC 7616)."""
    digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]

    def hashed(*parts: str) -> str:
        return digest(":".join(parts).encode()).hexdigest()

    given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    secret, target = hashed(user, given["realm"], password), hashed(method, one.url)
    middle = (given["nonce"], "00000001", "c", "auth") if "qop" in given else (given["nonce"],)
    fields = {"username": user, "realm": given["realm"], "nonce": given["nonce"], "uri": one.url}
    fields["response"] = hashed(secret, *middle, target)
    fields |= {"cnonce": "c"} if "qop" in given else {}
    words = [f'{name}="{value}"' for name, value in fields.items()]
    words += ["qop=auth", "nc=00000001"] if "qop" in given else []
    words += [f"algorithm={algorithm}"] if algorithm != "MD5" else []
    return await one.ask(method, "", "Authorization: Digest " + ", ".join(words))


@pytest.mark.parametrize("scheme", ["digest", "basic"])
async def test_a_wrong_password_is_refused(scheme: str) -> None:
    async with FarmProcess(cameras=1, mode="demo", rtsp_auth=scheme) as farm:
        assert (await ffprobe(farm.url("cam-1", credentials=True)))[0] == 0
        status, _, complaints = await ffprobe(farm.url("cam-1", credentials=True).replace(":camera-farm@", ":wrong@"))
        assert status != 0
        assert "401" in complaints
        await farm.fault("cam-1", "wrong_password")
        assert "401" in (await ffprobe(farm.url("cam-1", credentials=True)))[2]
        await farm.fault("cam-1", "wrong_password", on=False)
        assert (await ffprobe(farm.url("cam-1", credentials=True)))[0] == 0


async def test_a_client_that_falls_silent_is_dropped_and_one_that_keeps_alive_is_not() -> None:
    async with (
        FarmProcess(cameras=1, session_timeout=1, **OPEN) as farm,
        pulling(farm.url("cam-1")) as silent,
        pulling(farm.url("cam-1")) as alive,
    ):
        await silent.play()
        await alive.play()
        gone = asyncio.create_task(silent.receive(10))
        while not gone.done():
            alive.writer.write(f"GET_PARAMETER {alive.url} RTSP/1.0\r\nCSeq: 2\r\n\r\n".encode())
            await alive.receive(0.3)
        assert not await gone
        assert await alive.receive(0.3)


@pytest.mark.parametrize(("scheme", "algorithm"), [("digest", "MD5"), ("digest-sha256", "SHA-256")])
@pytest.mark.parametrize("qop", ["on", "off"])
async def test_digest_with_either_hash_and_nonces_that_go_stale(scheme: str, algorithm: str, qop: str) -> None:
    async with (
        FarmProcess(cameras=1, rtsp_auth=scheme, rtsp_qop=qop, **SMALL) as farm,
        pulling(farm.url("cam-1")) as one,
    ):
        challenge = await one.ask("DESCRIBE")
        assert ("algorithm=SHA-256" in challenge) == (algorithm == "SHA-256")
        account = ("admin", "camera-farm")
        assert " 200 " in await answer_to(one, "DESCRIBE", *account, challenge, algorithm)
        await farm.fault("cam-1", "stale_nonce")
        refused = await answer_to(one, "DESCRIBE", *account, challenge, algorithm)
        assert " 401 " in refused
        assert "stale=true" in refused
        assert " 200 " in await answer_to(one, "DESCRIBE", *account, refused, algorithm)
        wrong = await answer_to(one, "DESCRIBE", "admin", "wrong", refused, algorithm)
        assert " 401 " in wrong
        assert "stale" not in wrong
        assert (await farm.camera("cam-1"))["counts"]["auth_failures"] == {"rtsp": 1}


async def test_a_nonce_lives_as_long_as_it_is_told_to() -> None:
    options = {**SMALL, "rtsp_auth": "digest", "nonce_life": 0.2}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        challenge = await one.ask("DESCRIBE")
        async with asyncio.timeout(5):
            while "stale=true" not in (
                answer := await answer_to(one, "DESCRIBE", "admin", "camera-farm", challenge, "MD5")
            ):
                assert " 200 " in answer
                await asyncio.sleep(0.05)


async def test_basic_only() -> None:
    async with FarmProcess(cameras=1, rtsp_auth="basic", **SMALL) as farm, pulling(farm.url("cam-1")) as one:
        assert "Digest" not in await one.ask("DESCRIBE")
        credentials = base64.b64encode(b"admin:camera-farm").decode()
        assert " 200 " in await one.ask("DESCRIBE", "", f"Authorization: Basic {credentials}")


async def test_media_over_udp_with_reports_and_all_of_it_counted() -> None:
    async with (
        FarmProcess(cameras=1, audio="pcma", **OPEN) as farm,
        pulling(farm.url("cam-1")) as one,
        udp_track() as video,
        udp_track() as audio,
    ):
        await one.ask("DESCRIBE")
        for number, track in ((0, video), (1, audio)):
            found = re.search(r"server_port=(\d+)-(\d+)", await one.set_up(number, track.transport))
            assert found is not None
            assert int(found[1]) % 2 == 0
            assert int(found[2]) == int(found[1]) + 1
        await one.ask("PLAY", "", one.session)
        await video.until(50)
        await audio.until(50)
        assert set(steps(sequences(video.rtp), 1 << 16)) == {1}
        counters = [read_audio_counter(packet[12:]) for packet in audio.rtp]
        assert [counter[1] - index for index, counter in enumerate(counters) if counter] == [counters[0][1]] * len(
            counters
        )
        assert [report[1] for report in (*video.rtcp[:1], *audio.rtcp[:1])] == [200, 200]
        state = await farm.camera("cam-1")
        counted = state["streams"]["main"]["transports"]
        assert list(counted) == ["udp"]
        assert counted["udp"]["packets"] >= len(video.rtp) + len(audio.rtp)
        assert state["streams"]["main"]["sessions"][0]["transport"] == "udp"
        await one.ask("TEARDOWN", "", one.session)
        state = await until(lambda state: not state["sessions_now"], farm, "cam-1")


async def test_a_silent_udp_client_is_dropped_and_receiver_reports_keep_one_alive() -> None:
    async with (
        FarmProcess(cameras=1, session_timeout=1, **OPEN) as farm,
        pulling(farm.url("cam-1")) as silent,
        pulling(farm.url("cam-1")) as alive,
        udp_track() as first,
        udp_track() as second,
    ):
        await silent.play((0,), first.transport)
        await alive.ask("DESCRIBE")
        found = re.search(r"server_port=\d+-(\d+)", await alive.set_up(0, second.transport))
        assert found is not None
        await alive.ask("PLAY", "", alive.session)
        gone = asyncio.create_task(silent.receive(10))
        while not gone.done():
            second.report_to(int(found[1]))
            assert await alive.receive(0.3)
        assert not await gone
        assert (await farm.camera("cam-1"))["streams"]["main"]["sessions_now"] == 1


@pytest.mark.parametrize(("offered", "refused"), [("tcp", "udp"), ("udp", "tcp")])
async def test_a_transport_that_the_camera_does_not_have_is_refused(offered: str, refused: str) -> None:
    async with FarmProcess(cameras=1, transports=offered, **OPEN) as farm, udp_track() as track:
        wishes = {"tcp": TCP, "udp": track.transport}
        async with pulling(farm.url("cam-1")) as one:
            await one.ask("DESCRIBE")
            assert " 461 " in await one.set_up(0, wishes[refused])
            assert " 461 " in await one.set_up(0, MULTICAST)
            assert " 200 " in await one.set_up(0, wishes[offered])
        await farm.fault("cam-1", "refuse_transport", transport=offered)
        async with pulling(farm.url("cam-1")) as one:
            assert " 461 " in await one.set_up(0, wishes[offered])
            await farm.fault("cam-1", "refuse_transport", on=False)
            assert " 200 " in await one.set_up(0, f"{wishes[refused]},{wishes[offered]}")


async def test_rtsps_shows_the_certificate_it_told_of_and_takes_media_inside_only() -> None:
    async with FarmProcess(cameras=1, tls="on", **OPEN) as farm, udp_track() as track:
        [ready] = farm.ready["cameras"]
        trusting = ssl.create_default_context(cadata=farm.cameras[0]["certificate_pem"])
        async with pulling(farm.url("cam-1", tls=True), trusting) as one:
            transport = one.writer.get_extra_info("ssl_object")
            shown = hashlib.sha256(transport.getpeercert(binary_form=True)).hexdigest()
            assert shown == ready["certificate_sha256"] == farm.cameras[0]["certificate_sha256"]
            assert " 461 " in await one.set_up(0, track.transport)
            await one.play()
            await one.receive(0.5)
            assert len(one.packets(0)) > 10
            assert list((await farm.camera("cam-1"))["streams"]["main"]["transports"]) == ["tls"]
        await farm.fault("cam-1", "new_certificate")
        with pytest.raises(ssl.SSLCertVerificationError):
            async with pulling(farm.url("cam-1", tls=True), trusting):
                pass


@pytest.mark.parametrize(("kind", "complaint"), [("expired", "expired"), ("other-host", "mismatch")])
async def test_certificates_that_must_not_be_trusted(kind: str, complaint: str) -> None:
    async with FarmProcess(cameras=1, tls="on", certificate=kind, **OPEN) as farm:
        trusting = ssl.create_default_context(cadata=farm.cameras[0]["certificate_pem"])
        with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
            async with pulling(farm.url("cam-1", tls=True), trusting):
                pass


@pytest.mark.parametrize("url_style", ["path", "query"])
@pytest.mark.parametrize("control_style", ["relative", "absolute", "query"])
async def test_addresses_in_every_form_lead_to_their_tracks(url_style: str, control_style: str) -> None:
    options = {**OPEN, "url_style": url_style, "control_style": control_style}
    async with FarmProcess(cameras=1, **options) as farm:
        for stream, width in (("main", 320), ("sub", 640)):
            status, tracks, complaints = await ffprobe(farm.url("cam-1", stream))
            assert (status, complaints, len(tracks)) == (0, "", 2)
            assert tracks[0]["width"] == width
        async with pulling(farm.url("cam-1")) as one:
            description = await one.ask("DESCRIBE")
            controls = re.findall(r"a=control:(\S+)", description)
            assert controls[0] == "*"
            base = re.search(r"Content-Base: (\S+)", description)
            assert base is not None
            urls = [control if "://" in control else base[1] + control for control in controls[1:]]
            assert all(("?" in url) == (url_style == "query" or control_style == "query") for url in urls)
            for number, url in enumerate(urls):
                wish = TCP.format(number * 2, number * 2 + 1)
                head = await one.ask("SETUP", url, f"Transport: {wish}", *([one.session] if one.session else []))
                one.session = "Session: " + head.split("Session: ")[1].split(";")[0]
            played = await one.ask("PLAY", base[1], one.session)
            assert all(f"url={url};seq=" in played for url in urls)


async def test_per_track_control_refuses_the_whole_and_starts_each_track_by_itself() -> None:
    async with FarmProcess(cameras=1, per_track="on", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        assert "a=control:*" not in await one.ask("DESCRIBE")
        await one.set_up(0)
        await one.set_up(1)
        assert " 459 " in await one.ask("PLAY", "", one.session)
        played = await one.ask("PLAY", "/trackID=1", one.session)
        assert "trackID=1;" in played
        assert "trackID=0;" not in played
        await one.receive(0.4)
        assert one.packets(2)
        assert not one.packets(0)
        one.writer.write(f"PLAY {one.url}/trackID=0 RTSP/1.0\r\nCSeq: 9\r\n{one.session}\r\n\r\n".encode())
        await until(lambda state: state["streams"]["main"]["units_sent"] > 0, farm, "cam-1")


async def test_channels_that_the_client_did_not_ask_for() -> None:
    async with FarmProcess(cameras=1, renumber_channels="on", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.ask("DESCRIBE")
        assert "interleaved=10-11" in await one.set_up(0)
        assert "interleaved=12-13" in await one.set_up(1)
        await one.ask("PLAY", "", one.session)
        await one.receive(0.4)
        assert one.packets(10)
        assert one.packets(12)
        assert not one.packets(0)


async def test_media_before_the_answer_to_play() -> None:
    async with FarmProcess(cameras=1, early_media="on", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.ask("DESCRIBE")
        await one.set_up(0)
        one.writer.write(f"PLAY {one.url} RTSP/1.0\r\nCSeq: 9\r\n{one.session}\r\n\r\n".encode())
        await one.receive(0.6)
        assert one.received.startswith(b"$")
        assert b"RTSP/1.0 200 OK\r\nCSeq: 9" in one.received


async def test_an_answer_between_media() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await one.receive(0.3)
        one.writer.write(f"OPTIONS {one.url} RTSP/1.0\r\nCSeq: 77\r\n\r\n".encode())
        await one.receive(0.3)
        before, _, after = bytes(one.received).partition(b"RTSP/1.0 200 OK\r\nCSeq: 77\r\n")
        assert before.startswith(b"$")
        assert after.partition(b"\r\n\r\n")[2].startswith(b"$")


async def test_methods_that_the_camera_does_not_know_are_not_offered() -> None:
    options = {**OPEN, "refused_methods": "GET_PARAMETER"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        assert "GET_PARAMETER" not in await one.ask("OPTIONS")
        assert " 501 " in await one.ask("GET_PARAMETER")
        assert " 200 " in await one.ask("SET_PARAMETER")


async def test_more_sessions_than_the_camera_has_are_refused() -> None:
    async with FarmProcess(cameras=1, most_sessions=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        async with pulling(farm.url("cam-1", "sub")) as two:
            assert " 453 " in await two.set_up(0)
            one.writer.close()
            await until(lambda state: not state["sessions_now"], farm, "cam-1")
            assert " 200 " in await two.set_up(0)


async def test_a_session_that_is_not_known_is_refused() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.set_up(0)
        for method, path in (("PLAY", ""), ("SETUP", "/trackID=1"), ("GET_PARAMETER", "")):
            wish = "Transport: " + TCP.format(2, 3)
            assert " 454 " in await one.ask(method, path, "Session: 12345678", wish)


async def test_redirects_to_a_url_and_to_another_camera() -> None:
    async with FarmProcess(cameras=2, **OPEN) as farm:
        async with pulling(farm.url("cam-1")) as one:
            await farm.fault("cam-1", "redirect", to="cam-2")
            answer = await one.ask("DESCRIBE")
            assert answer.startswith("RTSP/1.0 302 ")
            assert f"Location: {farm.url('cam-2')}\r\n" in answer
            await farm.fault("cam-1", "redirect", to="rtsp://192.0.2.1/x", status="301 Moved Permanently")
            answer = await one.ask("DESCRIBE")
            assert answer.startswith("RTSP/1.0 301 ")
            assert "Location: rtsp://192.0.2.1/x\r\n" in answer
            await farm.fault("cam-1", "redirect", on=False)
            assert " 200 " in await one.ask("DESCRIBE")
        await farm.fault("cam-1", "redirect", to="cam-2")
        assert (await ffprobe(farm.url("cam-1")))[0] == 0
        assert (await farm.camera("cam-2"))["streams"]["main"]["sessions_total"] == 1


async def test_a_camera_that_asks_its_clients() -> None:
    async with FarmProcess(cameras=2, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.ask("OPTIONS")
        await farm.fault("cam-1", "ask_client")
        await farm.fault("cam-1", "redirect_request", to="cam-2")
        await one.receive(0.3)
        assert one.received.startswith(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        assert f"REDIRECT * RTSP/1.0\r\nCSeq: 2\r\nLocation: {farm.url('cam-2')}\r\n\r\n".encode() in one.received
        one.writer.write(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
        assert (await until(lambda state: state["counts"]["client_answers"] == 1, farm, "cam-1"))["counts"]["rtsp"] == {
            "OPTIONS": 1
        }
        assert " 200 " in await one.ask("OPTIONS")
