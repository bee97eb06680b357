"""Surveys over HTTP: who may, what is told and logged, how many at once, how long they are kept."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mediasrv.errors import CameraError
from tests.integration.web.site import Site
from tests.unit.survey.devices import PASSWORD

SURVEYS = "/api/v1/surveys"
TABLE = f"address,username,password,name,place\n10.0.0.1,admin,{PASSWORD},Cổng,A\n10.0.0.2,admin,{PASSWORD},Sân,B\n"


@pytest.fixture(autouse=True)
async def desk(site: Site) -> AsyncIterator[None]:
    """As in the server's task group."""
    running = asyncio.create_task(site.world.surveys.run())
    await asyncio.sleep(0)
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def start(site: Site, token: str, **body: Any) -> Any:
    status, survey = await site.call("POST", SURVEYS, token, json=body)
    assert status == 201, survey
    return survey


async def ended(site: Site, token: str, survey_id: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            status, survey = await site.call("GET", f"{SURVEYS}/{survey_id}", token)
            assert status == 200
            if survey["state"] != "running":
                return survey
            await asyncio.sleep(0.02)


async def test_from_a_table_to_verdicts_and_a_csv(site: Site) -> None:
    site.world.network.troubles["10.0.0.2"] = CameraError("No.", code="credentials_wrong")
    token = await site.world.account("lan", "operator")
    begun = await start(site, token, table=TABLE, seconds=1)
    assert (begun["state"], begun["devices"], begun["done"], begun["seconds"]) == ("running", 2, 0, 1.0)
    survey = await ended(site, token, begun["id"])
    assert (survey["state"], survey["done"], survey["eligible"], survey["not_eligible"]) == ("done", 2, 1, 1)
    assert [(row["name"], row["site"], row["verdict"]) for row in survey["rows"]] == [
        ("Cổng", "A", "eligible"),
        ("Sân", "B", "not_eligible"),
    ]
    assert survey["rows"][1]["reason"]["sentence_vi"] == "Camera từ chối tên đăng nhập hoặc mật khẩu."
    status, table = await site.call("GET", f"{SURVEYS}/{begun['id']}/report.csv", token)
    rows = list(csv.DictReader(table.decode("utf-8-sig").splitlines()))
    assert (status, [row["code"] for row in rows]) == (200, ["audio_unsupported", "credentials_wrong"])
    assert PASSWORD not in f"{begun}{survey}{table!r}"


async def test_only_what_changed_is_told_again(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    survey = await ended(site, token, (await start(site, token, table=TABLE, seconds=1))["id"])
    _, same = await site.call("GET", f"{SURVEYS}/{survey['id']}?since={survey['revision']}", token)
    assert same["rows"] == []
    _, one = await site.call("GET", f"{SURVEYS}/{survey['id']}?since={survey['revision'] - 1}", token)
    assert len(one["rows"]) == 1


async def test_it_is_logged_before_anything_is_asked_and_without_a_password(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    survey = await start(site, token, table=TABLE, seconds=1)
    await site.call("POST", f"{SURVEYS}/{survey['id']}/cancel", token)
    entries = [one for one in await site.world.log() if one.action.startswith("survey.")]
    assert [(one.action, one.username, one.subject, one.detail) for one in entries] == [
        ("survey.started", "lan", "10.0.0.1 … 10.0.0.2", {"devices": 2}),
        ("survey.cancelled", "lan", survey["id"], {}),
    ]
    assert PASSWORD not in repr(await site.world.log())


async def test_cancelled_every_camera_was_left_when_the_answer_comes(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    survey = await start(site, token, table=TABLE, seconds=600)
    async with asyncio.timeout(5):
        while sum(site.world.network.open_at.values()) < 2:  # noqa: ASYNC110 - the fake network's counter has no event
            await asyncio.sleep(0.01)
    _, cancelled = await site.call("POST", f"{SURVEYS}/{survey['id']}/cancel", token)
    assert (cancelled["state"], site.world.network.goodbyes) == ("cancelled", 2)
    assert sum(site.world.network.open_at.values()) == 0
    _, again = await site.call("POST", f"{SURVEYS}/{survey['id']}/cancel", token)
    assert again["state"] == "cancelled"


async def test_so_many_at_once_and_no_more(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    survey = await start(site, token, table=TABLE, seconds=600)
    assert await site.problem("POST", SURVEYS, token, json={"table": TABLE}) == (429, "surveys_full")
    await site.call("POST", f"{SURVEYS}/{survey['id']}/cancel", token)
    await start(site, token, table=TABLE, seconds=1)


async def test_a_survey_is_for_who_started_it_and_for_whoever_manages_everything(site: Site) -> None:
    lan, minh = [await site.world.account(name, "operator", place="north") for name in ("lan", "minh")]
    chief = await site.world.account("thu", "operator")
    survey = await start(site, lan, table=TABLE, seconds=1)
    for method, path in (("GET", ""), ("GET", "/report.csv"), ("POST", "/cancel")):
        answer = await site.problem(method, f"{SURVEYS}/{survey['id']}{path}", minh)
        assert answer == (404, "survey_not_found")
    assert (await site.call("GET", SURVEYS, minh))[1] == {"surveys": []}
    for token in (lan, chief):
        assert [one["id"] for one in (await site.call("GET", SURVEYS, token))[1]["surveys"]] == [survey["id"]]


async def test_who_may_not_manage_cameras_surveys_none(site: Site) -> None:
    token = await site.world.account("lan", "viewer", "auditor")
    assert await site.problem("POST", SURVEYS, token, json={"table": TABLE}) == (403, "not_permitted")
    assert site.world.network.pulled == []


async def test_results_are_forgotten_after_a_while(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    survey = await ended(site, token, (await start(site, token, table=TABLE, seconds=1))["id"])
    site.world.clock.advance(99)
    assert (await site.call("GET", f"{SURVEYS}/{survey['id']}", token))[0] == 200
    site.world.clock.advance(2)
    assert await site.problem("GET", f"{SURVEYS}/{survey['id']}", token) == (404, "survey_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"addresses": "10.0.0.1", "table": TABLE},
        {"addresses": " \n"},
        {"addresses": "not an address!"},
        {"table": "address,username\n,admin\n"},
        {"addresses": "10.0.0.0/16"},
        {"addresses": "10.0.0.1", "seconds": 0},
        {"addresses": "10.0.0.1", "seconds": 601},
        {"addresses": "10.0.0.1\u0007"},
        {"rows": []},
    ],
)
async def test_what_makes_no_sense_is_refused_and_not_logged(site: Site, body: dict[str, Any]) -> None:
    token = await site.world.account("lan", "operator")
    status, _ = await site.call("POST", SURVEYS, token, json=body)
    assert status == 400
    assert await site.world.actions("survey.") == []


async def test_a_table_of_as_many_cameras_as_there_may_be_fits(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    line = "10.{0}.{1}.77,operator-account,{2},Camera cổng số {3} trụ sở xã,Xã số {0}\n"
    lines = [line.format(number // 200, number % 200, PASSWORD, number) for number in range(1024)]
    survey = await start(site, token, table="address,username,password,name,place\n" + "".join(lines), seconds=1)
    assert survey["devices"] == 1024
    assert (await site.call("POST", f"{SURVEYS}/{survey['id']}/cancel", token))[0] == 200
