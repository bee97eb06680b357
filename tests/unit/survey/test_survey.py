"""A survey over devices that are nowhere: order, turns, cancelling, and what must not be said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session, StreamName, StreamRef
from mediasrv.onvif import Target
from mediasrv.survey import Findings, Row, Verdict
from mediasrv.survey.findings import Failure, Measured
from mediasrv.survey.measure import MakePuller
from mediasrv.survey.report import build_csv, row_json, row_line, summary_line
from mediasrv.survey.runner import RowState
from mediasrv.survey.sites import network_of, site_of
from tests.unit.survey.devices import GOOD, LIMITS, MAIN, MEASURED, PASSWORD, READING, SUB, Network, survey_of, targets


def codes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(row.judgement.verdict.value, row.judgement.code) for row in rows if row.judgement]


# --- order and turns --------------------------------------------------------------------------------


async def test_one_stream_at_a_time_a_site_and_sites_side_by_side() -> None:
    network = Network()
    sites = [targets(*(f"10.0.{site}.{number}" for number in range(6)), site=f"s{site}") for site in range(8)]
    survey = survey_of(network, [target for site in sites for target in site])
    most_at_once = 0

    async def watch() -> None:
        nonlocal most_at_once
        while survey.done < 48:
            most_at_once = max(most_at_once, sum(network.open_at.values()))
            await asyncio.sleep(0)

    await asyncio.gather(survey.run(), watch())
    assert set(network.most_open_at.values()) == {1}
    assert most_at_once > 4
    assert survey.count(Verdict.ELIGIBLE) == 48
    assert network.goodbyes == 48


async def test_no_more_streams_at_once_than_the_setting_says() -> None:
    network = Network()
    wanted = [target for site in range(9) for target in targets(f"10.0.{site}.1", site=f"s{site}")]
    survey = survey_of(network, wanted, streams_at_once=2)
    most = 0

    async def watch() -> None:
        nonlocal most
        while survey.done < 9:
            most = max(most, sum(network.open_at.values()))
            await asyncio.sleep(0)

    await asyncio.gather(survey.run(), watch())
    assert most == 2


async def test_main_alone_is_measured_where_it_is_good_and_sub_only_where_main_is_not() -> None:
    network = Network(loses={"rtsp://10.0.0.2/main": 50})
    survey = survey_of(network, targets("10.0.0.1", "10.0.0.2"))
    await survey.run()
    assert network.pulled == ["rtsp://10.0.0.1/main", "rtsp://10.0.0.2/main", "rtsp://10.0.0.2/sub"]
    assert codes(survey.rows) == [("eligible", "audio_unsupported"), ("substream_only", "loss_too_high")]


async def test_a_codec_that_cannot_be_pulled_is_not_pulled() -> None:
    network = Network(readings={"10.0.0.1": replace(READING, main=replace(MAIN, codec="jpeg"))})
    survey = survey_of(network, targets("10.0.0.1"))
    await survey.run()
    assert network.pulled == [SUB.url]
    assert codes(survey.rows) == [("substream_only", "codec_unsupported")]


async def test_a_refused_password_is_not_tried_on_the_other_stream() -> None:
    trouble = CameraError("No.", code="credentials_wrong")
    network = Network(troubles={"rtsp://10.0.0.1/main": trouble})
    survey = survey_of(network, targets("10.0.0.1"))
    await survey.run()
    assert network.pulled == ["rtsp://10.0.0.1/main"]
    assert codes(survey.rows) == [("not_eligible", "credentials_wrong")]


async def test_the_sites_line_is_given_away_in_the_order_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measured(make: MakePuller, seconds: float, clock: Clock) -> Measured:
        await make(Mountpoint(StreamRef("x", StreamName.MAIN), 0.5), _no_session).run()
        return MEASURED if network.pulled[-1].endswith("main") else replace(MEASURED, bitrate_kbps=400)

    monkeypatch.setattr("mediasrv.survey.runner.measure", measured)
    monkeypatch.setattr("tests.unit.survey.devices._Pull.run", _note_only)
    network = Network()
    wanted = targets("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    survey = survey_of(network, wanted, limits=replace(LIMITS, most_site_kbps=8500))
    await survey.run()
    assert codes(survey.rows) == [
        ("eligible", "survey_passed"),
        ("eligible", "survey_passed"),
        ("substream_only", "line_full"),
        ("not_eligible", "line_full"),
    ]


def _no_session() -> Session:
    raise AssertionError("nothing is pulled here")


async def _note_only(pull: Any) -> None:
    pull._network.pulled.append(pull._url)


async def test_one_bad_device_and_one_surprise_spoil_no_other() -> None:
    network = Network(
        troubles={
            "10.0.0.1": CameraError("It is away.", code="host_unreachable"),
            "10.0.0.2": RuntimeError("a surprise while reading"),
            "rtsp://10.0.0.3/main": RuntimeError("a surprise while measuring"),
        }
    )
    survey = survey_of(network, targets("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"))
    await survey.run()
    assert [code for _, code in codes(survey.rows)] == [
        "host_unreachable",
        "camera_failed",
        "camera_failed",
        "audio_unsupported",
    ]


async def test_a_stream_that_ends_while_it_is_measured_says_so() -> None:
    network = Network()
    survey = survey_of(network, targets("10.0.0.1"), seconds=5.0)
    running = asyncio.create_task(survey.run())
    while not network.open_at["site-1"]:  # noqa: ASYNC110 - the fake network's counter has no event
        await asyncio.sleep(0)
    network.hold.set()
    await running
    assert codes(survey.rows) == [("not_eligible", "camera_lost")]


# --- in service -------------------------------------------------------------------------------------


async def test_a_camera_in_service_is_neither_read_nor_pulled_again() -> None:
    present = replace(GOOD, in_service=True)
    network = Network(present={"10.0.0.1": present, "rtsp://10.0.0.2/sub": present})
    survey = survey_of(network, targets("10.0.0.1", "10.0.0.2"))
    await survey.run()
    assert network.pulled == []
    assert codes(survey.rows) == [("eligible", "in_service")] * 2


async def test_a_camera_in_service_that_is_lost_says_why() -> None:
    network = Network(present={"10.0.0.1": Findings(failure=Failure("camera_lost"), in_service=True)})
    survey = survey_of(network, targets("10.0.0.1"))
    await survey.run()
    assert codes(survey.rows) == [("not_eligible", "camera_lost")]


# --- cancelling, and what is kept -------------------------------------------------------------------


async def test_cancelled_it_leaves_every_camera_and_keeps_what_stands() -> None:
    network = Network()
    wanted = targets("10.0.0.1", "10.0.0.2") + targets("10.0.1.1", site="site-2")
    survey = survey_of(network, wanted, seconds=30.0)
    running = asyncio.create_task(survey.run())
    while sum(network.open_at.values()) < 2:  # noqa: ASYNC110 - the fake network's counter has no event
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sum(network.open_at.values()) == 0
    assert (network.goodbyes, len(network.pulled)) == (2, 2)
    assert [row.state for row in survey.rows] == [RowState.CANCELLED] * 3
    assert survey.done == 0


async def test_credentials_are_gone_when_it_has_ended_and_never_in_what_it_tells() -> None:
    network = Network()
    survey = survey_of(network, targets("10.0.0.1"))
    await survey.run()
    told = f"{row_json(survey.rows[0])}{build_csv(survey.rows)}{row_line(survey.rows[0], 'en')}{survey.rows!r}"
    assert PASSWORD not in told
    assert PASSWORD not in repr(vars(survey))
    assert survey._targets == []


async def test_an_address_that_stands_twice_is_surveyed_once() -> None:
    survey = survey_of(Network(), targets("10.0.0.1", "10.0.0.2", "10.0.0.1"))
    await survey.run()
    assert [row.address for row in survey.rows] == ["10.0.0.1", "10.0.0.2"]


async def test_rows_that_changed_are_known_by_their_revision() -> None:
    network = Network(troubles={"10.0.0.1": CameraError("It is away.", code="host_unreachable")})
    survey = survey_of(network, targets("10.0.0.1", "10.0.0.2"))
    await survey.run()
    assert survey.rows[1].revision == survey.revision > survey.rows[0].revision > 0


# --- sites ------------------------------------------------------------------------------------------


async def test_a_site_is_the_place_else_the_network() -> None:
    assert network_of("10.1.2.3") == "10.1.2.0/24"
    assert network_of("fd00:1:2:3::9%eth0") == "fd00:1:2:3::/64"
    assert await site_of(targets("10.1.2.3", site="Xã Ba")[0]) == "Xã Ba"
    one, other = targets("10.1.2.3", "rtsp://10.1.2.99/x", site="")
    assert await site_of(one) == await site_of(other) == "10.1.2.0/24"


# --- what it tells ----------------------------------------------------------------------------------


async def test_the_table_is_for_spreadsheets_and_runs_no_formula_of_a_camera() -> None:
    evil = replace(READING, manufacturer="=HYPERLINK(1)", model="@SUM(1)")
    survey = survey_of(Network(readings={"10.0.0.1": evil}), targets("10.0.0.1"))
    await survey.run()
    text = build_csv(survey.rows)
    assert text.startswith("\ufeffaddress,name,place,site,verdict,code,")
    assert ",'=HYPERLINK(1),'@SUM(1)," in text
    assert "Cổng 10.0.0.1" in text


async def test_lines_in_both_languages() -> None:
    network = Network(loses={"rtsp://10.0.0.1/main": 50})
    survey = survey_of(network, targets("10.0.0.1"))
    await survey.run()
    assert row_line(survey.rows[0], "en").startswith("10.0.0.1                    substream only    h264 ")
    assert "chỉ luồng phụ" in row_line(survey.rows[0], "vi")
    assert "[loss_too_high]" in row_line(survey.rows[0], "vi")
    assert summary_line(survey, "en") == "1/1: 0 eligible, 1 substream only, 0 not eligible"


async def test_a_password_within_an_address_is_not_shown() -> None:
    survey = survey_of(Network(), [Target("rtsp://10.0.0.1/cam?user=admin&password=S3cret-in-url")])
    await survey.run()
    [row] = survey.rows
    assert row.address.startswith("rtsp://10.0.0.1/cam?user=admin&password=")
    assert "S3cret-in-url" not in f"{row_json(row)} {build_csv(survey.rows)} {row_line(row, 'en')}"
