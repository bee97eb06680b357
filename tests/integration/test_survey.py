"""Surveys of simulated cameras: each fault with its verdict, one stream a site, and no session left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from load_tests.camera_farm.process import FarmProcess
from load_tests.survey import most_streams_a_site
from mediasrv.onvif import Target
from mediasrv.settings import OnvifSettings, PullSettings, Settings, SurveySettings
from mediasrv.survey import Survey
from mediasrv.survey.report import row_json
from mediasrv.surveying import make_survey
from tests.integration.fake_camera import PASSWORD, USERNAME, FakeCamera, fake_camera

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETTINGS = Settings(
    pull=PullSettings(
        allowed_networks=("127.0.0.1/32",), connect_timeout_s=2.0, response_timeout_s=3.0, stall_timeout_s=3.0
    ),
    onvif=OnvifSettings(timeout_s=3.0),
    survey=SurveySettings(measure_s=2.0),
)
ORDERS = {
    "cam-1": "passed",
    "cam-2": "wrong password",
    "cam-3": "h265",
    "cam-4": "clock",
    "cam-5": "loss",
    "cam-6": "interleaved",
    "cam-7": "no onvif",
    "cam-8": "silent",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm() -> AsyncIterator[FarmProcess]:
    settings = ["all:gop=0.5", "cam-3:codec=h265", "cam-4:clock-offset=-3600", "cam-6:packetization-mode=2"]
    faults = ["cam-5:loss,share=0.03", "cam-7:onvif_missing,services=device,media", "cam-8:stall,lasting=on"]
    async with FarmProcess(cameras=8, set=settings, fault=faults) as made:
        yield made


def target(farm: FarmProcess, camera_id: str, site: str = "", password: str = "") -> Target:
    camera = next(one for one in farm.cameras if one["id"] == camera_id)
    return Target(camera["onvif_address"], camera["username"], password or camera["password"], camera_id, site)


async def survey(targets: Sequence[Target], settings: Settings = SETTINGS) -> dict[str, dict[str, Any]]:
    """The rows by name."""
    made = make_survey(settings, targets, None)
    await made.run()
    return {row.name: row_json(row) for row in made.rows}


async def test_each_fault_has_its_verdict_and_its_reason(farm: FarmProcess) -> None:
    wanted = [target(farm, name, f"site-{name}", "nobody's" if name == "cam-2" else "") for name in ORDERS]
    wanted.append(Target("127.0.0.1:9", USERNAME, PASSWORD, "dead"))
    wanted.append(Target("192.0.2.1", USERNAME, PASSWORD, "elsewhere"))
    url = farm.url("cam-7")
    wanted.append(Target(url, farm.username, farm.password, "by URL"))
    rows = await survey(wanted)
    assert {name: (row["verdict"], row["reason"]["code"]) for name, row in rows.items()} == {
        "cam-1": ("eligible", "survey_passed"),
        "cam-2": ("not_eligible", "credentials_wrong"),
        "cam-3": ("eligible", "h265_only"),
        "cam-4": ("eligible", "clock_off"),
        "cam-5": ("not_eligible", "loss_too_high"),
        "cam-6": ("not_eligible", "interleaving_unsupported"),
        "cam-7": ("not_eligible", "onvif_failed"),
        "cam-8": ("not_eligible", "stalled"),
        "dead": ("not_eligible", "port_closed"),
        "elsewhere": ("not_eligible", "address_refused"),
        "by URL": ("eligible", "survey_passed"),
    }
    main = rows["cam-1"]["streams"]["main"]
    assert (main["codec"], main["width"], main["height"], main["audio"]) == ("h264", 1280, 720, "pcma")
    assert main["bitrate_kbps"] == pytest.approx(2300, rel=0.4)
    assert main["rate"] == pytest.approx(25, rel=0.1)
    assert 0.4 <= main["keyframe_interval_s"] <= 1.2
    assert (main["lost_packets"], main["measured_s"]) == (0, pytest.approx(2, abs=0.5))
    assert rows["cam-1"]["manufacturer"] == "Camera Farm"
    assert (rows["cam-1"]["onvif"], rows["cam-1"]["credentials"], rows["cam-1"]["reachable"]) == (
        True,
        "accepted",
        True,
    )
    assert rows["cam-2"]["credentials"] == "refused"
    assert rows["cam-4"]["clock"]["offset_s"] == pytest.approx(-3600, abs=1.5)
    assert rows["cam-5"]["streams"]["main"]["lost_packets"] > 3
    assert rows["elsewhere"]["reachable"] is None
    assert farm.password not in json.dumps(rows)


async def bad_main(camera: FakeCamera, main_url: str, sub_url: str, codec: str) -> None:
    """The camera's large picture is of `codec` at `main_url`, its small one H.264 at `sub_url`."""
    camera.answers["GetProfiles"] = camera._profile1("p1", codec, 1920, 1080) + camera._profile1("p2", "H264", 640, 360)
    urls = {"p1": main_url, "p2": sub_url}
    camera.answers["GetStreamUri"] = lambda asked: (
        f"<x:MediaUri><tt:Uri>{urls[asked.text('ProfileToken')]}</tt:Uri></x:MediaUri>"
    )


@pytest.mark.parametrize(("codec", "main", "code"), [
    ("JPEG", "cam-1", "codec_unsupported"),
    ("H264", "cam-6", "interleaving_unsupported"),
])  # fmt: skip
async def test_a_bad_main_and_a_good_sub_is_substream_only(farm: FarmProcess, codec: str, main: str, code: str) -> None:
    async with fake_camera("media") as camera:
        camera.username, camera.password = farm.username, farm.password
        await bad_main(camera, farm.url(main), farm.url("cam-1", "sub"), codec)
        before = (await farm.camera("cam-1"))["streams"]
        rows = await survey([Target(camera.address, farm.username, farm.password, "mixed")])
        after = (await farm.camera("cam-1"))["streams"]
    row = rows["mixed"]
    assert (row["verdict"], row["reason"]["code"]) == ("substream_only", code)
    assert row["streams"]["sub"]["measured_s"] > 0
    assert row["streams"]["sub"]["width"] == 640
    pulled = {name: len(after[name]["sessions"]) - len(before[name]["sessions"]) for name in ("main", "sub")}
    assert pulled == {"main": 0, "sub": 1}


async def test_at_most_one_stream_is_open_at_a_site_at_any_moment() -> None:
    sites = {f"cam-{number}": f"site-{number % 4}" for number in range(1, 13)}
    async with FarmProcess(cameras=12, gop=0.5) as farm:
        wanted = [target(farm, name, site) for name, site in sites.items()]
        rows = await survey(wanted, replace(SETTINGS, survey=SurveySettings(measure_s=1.0)))
        cameras = await farm.refresh()
    assert {row["verdict"] for row in rows.values()} == {"eligible"}
    assert most_streams_a_site(cameras, sites) == 1
    assert most_streams_a_site(cameras, dict.fromkeys(sites, "all of them")) == 4


async def test_the_load_test_holds_in_small() -> None:
    pipe, words = asyncio.subprocess.PIPE, ["survey", "--devices", "24", "--sites", "8", "--seconds", "1", "--json"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "load_tests", *words, stdout=pipe)
    out, _ = await process.communicate()
    result = json.loads(out.splitlines()[-1])
    assert process.returncode == 0
    assert (result["devices"], result["eligible"], result["most_streams_a_site"]) == (24, 24, 1)


async def test_without_places_one_network_is_one_site() -> None:
    async with FarmProcess(cameras=2, gop=0.5) as farm:
        wanted = [target(farm, "cam-1"), target(farm, "cam-2")]
        rows = await survey(wanted, replace(SETTINGS, survey=SurveySettings(measure_s=1.0)))
        cameras = await farm.refresh()
    assert {row["site"] for row in rows.values()} == {"127.0.0.0/24"}
    assert most_streams_a_site(cameras, dict.fromkeys(("cam-1", "cam-2"), "one")) == 1


async def test_cancelled_it_says_goodbye_to_every_camera() -> None:
    async with FarmProcess(cameras=3, gop=0.5) as farm:
        made: Survey = make_survey(SETTINGS, [target(farm, f"cam-{n}", f"s{n}") for n in (1, 2, 3)], 60.0)
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(20):
            while not await all_playing(farm):  # noqa: ASYNC110 - the farm is asked over HTTP
                await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for camera in await farm.refresh():
            assert camera["streams"]["main"]["sessions"][0]["ended_us"] is not None
            assert camera["counts"]["rtsp"]["TEARDOWN"] == 1
    assert made.done == 0


async def all_playing(farm: FarmProcess) -> bool:
    return all(camera["streams"]["main"]["sessions"] for camera in await farm.refresh())


# --- the command line -------------------------------------------------------------------------------


async def command(directory: Path, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit status, output and errors of `mediasrv survey` in a directory of its own, without a server."""
    process = await start(directory, *arguments)
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def start(directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    config = directory / "mediasrv.toml"
    config.write_text('[pull]\nallowed_networks = ["127.0.0.1/32"]\n', encoding="utf-8")
    pipe = asyncio.subprocess.PIPE
    words = [sys.executable, "-m", "mediasrv", "survey", *arguments, "--config", str(config)]
    return await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ | {"LANG": "C"}
    )


async def test_the_command_surveys_a_table_and_writes_both_reports(farm: FarmProcess, tmp_path: Path) -> None:
    table, out, document = tmp_path / "cameras.csv", tmp_path / "out.csv", tmp_path / "out.json"
    one, other = target(farm, "cam-1"), target(farm, "cam-2")
    table.write_text(
        f"\ufeffaddress;username;password;name;place\n{one.address};;;Cổng;A\n{other.address};admin;nobody's;Sân;B\n",
        encoding="utf-8",
    )
    status, shown, errors = await command(
        tmp_path, str(table), "--username", one.username, "--password-stdin", "--seconds", "1",
        "--csv", str(out), "--json", str(document), "--language", "vi", stdin=f"{one.password}\n",
    )  # fmt: skip
    assert (status, errors) == (3, "")  # some are not eligible
    assert "Camera dùng được ngay, không cần chỉnh gì. [survey_passed]" in shown
    assert shown.splitlines()[-1] == "2/2: 1 dùng được, 0 chỉ luồng phụ, 1 không dùng được"
    assert "\x1b" not in shown  # a pipe gets plain lines
    found = json.loads(document.read_text(encoding="utf-8"))
    assert [(row["name"], row["verdict"]) for row in found["rows"]] == [("Cổng", "eligible"), ("Sân", "not_eligible")]
    assert out.read_text(encoding="utf-8-sig").splitlines()[1].startswith(f"{one.address},Cổng,A,A,eligible,")
    for text in (shown, out.read_text(encoding="utf-8"), document.read_text(encoding="utf-8")):
        assert one.password not in text
        assert "nobody's" not in text
    made = await asyncio.to_thread(os.listdir, tmp_path)
    assert sorted(made) == ["cameras.csv", "mediasrv.toml", "out.csv", "out.json"]  # neither catalogue nor keys


async def test_the_command_takes_addresses_and_a_login_in_a_url(farm: FarmProcess, tmp_path: Path) -> None:
    url = farm.url("cam-1", credentials=True)
    status, shown, _ = await command(tmp_path, url, "--seconds", "1", "--language", "en")
    assert (status, farm.password in shown) == (0, False)
    assert "[survey_passed]" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("missing.csv",), "missing.csv cannot be read as a table in UTF-8. [settings_invalid]"),
        (("127.0.0.1", "--seconds", "0"), "--seconds must lie between 1 and 600. [settings_invalid]"),
        (("rtsp://admin:pa/ss@127.0.0.1/",), "127.0.0.1/ is no rtsp:// URL. [addresses_invalid]"),
    ],
)
async def test_the_command_says_what_is_wrong(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    status, _, errors = await command(tmp_path, *words)
    assert (status, errors.strip()) == (1, f"mediasrv: {sentence}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_command_leaves_the_camera_and_writes_what_it_has(
    farm: FarmProcess, tmp_path: Path, number: int
) -> None:
    document = tmp_path / "out.json"
    before = (await farm.camera("cam-1"))["counts"]["rtsp"].get("TEARDOWN", 0)
    sessions = len((await farm.camera("cam-1"))["streams"]["main"]["sessions"])
    process = await start(tmp_path, farm.url("cam-1", credentials=True), "--seconds", "60", "--json", str(document))
    async with asyncio.timeout(20):
        while len((await farm.camera("cam-1"))["streams"]["main"]["sessions"]) == sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == 130
    assert json.loads(document.read_text())["rows"][0]["state"] == "cancelled"
    assert (await farm.camera("cam-1"))["counts"]["rtsp"]["TEARDOWN"] == before + 1
