"""Policies, previews, holds and receipts over HTTP, on a real catalogue."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from mediasrv.catalogue.receipts import add_receipt
from mediasrv.catalogue.tables import data_key, hold, outbox, recording
from mediasrv.clock import SECOND_US, from_us
from mediasrv.security.receipts import CONTEXT, build_receipt, sign_receipt
from mediasrv.settings import StorageSettings
from mediasrv.storage.keys import NodeKey, verify_signature
from mediasrv.web.fields import format_time
from tests.integration.web.site import Site, make_site
from tests.unit.web.fakes import NORTH, SOUTH, START_US

DAY_US = 86_400 * SECOND_US
HOUR_US = 3600 * SECOND_US


def _insert_recordings(connection: Connection, camera_id: str, ages_days: Sequence[int]) -> None:
    """One object of an hour and 1000 bytes for each age."""
    values = {"camera_id": camera_id, "stream": "main", "node_id": "n", "period_at": from_us(0)}
    key_id = f"key-{camera_id}"
    connection.execute(insert(data_key).values(values | {"key_id": key_id, "record": b"x", "created_at": from_us(0)}))
    for seq, days in enumerate(ages_days):
        ended_us = START_US - days * DAY_US
        connection.execute(
            insert(recording).values(
                object_id=f"{camera_id}-{days}",
                object_key=f"{camera_id}/{days}",
                cell="c",
                camera_id=camera_id,
                stream="main",
                epoch=1,
                session_id="s",
                seq=seq,
                node_id="n",
                incarnation="i",
                status="live",
                ended="closed",
                started_at=from_us(ended_us - HOUR_US),
                ended_at=from_us(ended_us),
                size_bytes=1000,
                crc32c=0,
                footer_offset=0,
                key_id=key_id,
                committed_at=from_us(ended_us),
            )
        )


async def record(site: Site, camera_id: str, *ages_days: int) -> None:
    await site.world.services.catalogue.write(_insert_recordings, camera_id, ages_days)


async def ok(site: Site, method: str, path: str, token: str, **options: Any) -> Any:
    status, body = await site.call(method, path, token, **options)
    assert status in (200, 201), body
    return body


# --- policies ------------------------------------------------------------------------------------


async def test_a_policy_comes_down_the_tree_and_says_where_from(site: Site) -> None:
    token = await site.world.account("lan", "administrator")
    path = f"/api/v1/cameras/{NORTH}/retention"
    assert set((await ok(site, "GET", path, token))["sources"].values()) == {"settings"}
    place = {"max_age_days": 90, "keep_events": {"motion": 365}, "event_before_s": 30}
    await ok(site, "PUT", "/api/v1/places/north/retention", token, json=place)
    await ok(site, "PUT", path, token, json={"max_age_days": 7})
    shown = await ok(site, "GET", path, token)
    assert (shown["max_age_days"], shown["keep_events"]) == (7, {})
    assert shown["effective"] == {
        "max_age_days": 7.0,
        "max_size_bytes": 0,
        "keep_events": {"motion": 365},
        "event_before_s": 30,
        "event_after_s": 60,
        "locked_days": 0,
    }
    assert shown["sources"] == {
        "max_age_days": f"camera:{NORTH}",
        "max_size_bytes": "settings",
        "event_before_s": "place:north",
        "event_after_s": "settings",
        "event.motion": "place:north",
    }
    other = await ok(site, "GET", f"/api/v1/cameras/{SOUTH}/retention", token)
    assert other["effective"]["keep_events"] == {}
    await ok(site, "DELETE", path, token)
    assert (await ok(site, "GET", path, token))["effective"]["max_age_days"] == 90


async def test_what_changed_is_in_the_log(site: Site) -> None:
    token = await site.world.account("lan", "administrator")
    await ok(site, "PUT", "/api/v1/places/north/retention", token, json={"max_age_days": 90})
    (entry,) = [one for one in await site.world.log() if one.action == "retention.changed"]
    assert (entry.subject, entry.detail["of"]) == ("north", "place")
    assert (entry.detail["before"]["max_age_days"], entry.detail["after"]["max_age_days"]) == (None, 90)


async def test_policies_that_make_no_sense_are_refused(site: Site) -> None:
    token = await site.world.account("lan", "administrator")
    path = "/api/v1/places/north/retention"
    for policy in (
        {"max_age_days": 0},
        {"max_size_bytes": -1},
        {"keep_events": {"weather": 3}},
        {"keep_events": {"motion": 0}},
        {"keep_events": [1]},
        {"event_after_s": 3601},
        {"nonsense": 1},
    ):
        assert await site.problem("PUT", path, token, json=policy) == (400, "request_invalid"), policy
        assert await site.problem("POST", f"{path}/preview", token, json=policy) == (400, "request_invalid")
    nowhere = "/api/v1/places/nowhere/retention"
    assert await site.problem("PUT", nowhere, token, json={}) == (404, "place_not_found")


async def test_a_place_elsewhere_is_nobodys_to_change(site: Site) -> None:
    token = await site.world.account("lan", "administrator", place="south")
    path, body = "/api/v1/places/north/retention", {"json": {"max_age_days": 1}}
    assert await site.problem("PUT", path, token, **body) == (403, "not_permitted")
    assert await site.problem("POST", f"{path}/preview", token, **body) == (403, "not_permitted")
    assert await site.problem("PUT", "/api/v1/places/root/retention", token, **body) == (403, "not_permitted")


async def test_a_preview_counts_what_would_go_and_what_holds_keep(site: Site) -> None:
    token = await site.world.account("lan", "administrator")
    await record(site, NORTH, 1, 5, 10, 20)
    await record(site, SOUTH, 10)
    span = {"start": format_time(START_US - 10 * DAY_US - HOUR_US), "end": format_time(START_US - 10 * DAY_US)}
    held = await ok(site, "POST", f"/api/v1/cameras/{NORTH}/holds", token, json=span | {"reason": "a case"})
    assert held["protects"] == {"objects": 1, "size_bytes": 1000}
    shown = await ok(site, "POST", "/api/v1/places/north/retention/preview", token, json={"max_age_days": 3})
    assert {name: shown[name] for name in ("objects", "size_bytes", "hours", "held", "complete")} == {
        "objects": 2,
        "size_bytes": 2000,
        "hours": 2.0,
        "held": {"objects": 1, "size_bytes": 1000},
        "complete": True,
    }
    assert shown["oldest"] == format_time(START_US - 20 * DAY_US - HOUR_US)
    assert shown["newest"] == format_time(START_US - 5 * DAY_US)
    assert [line["camera"] for line in shown["cameras"]] == [NORTH]
    both = await ok(site, "POST", "/api/v1/places/root/retention/preview", token, json={"max_age_days": 3})
    assert (both["objects"], len(both["cameras"])) == (3, 2)
    # What is previewed is not saved.
    assert (await ok(site, "GET", "/api/v1/places/north/retention", token))["max_age_days"] is None


async def test_a_preview_of_a_place_respects_what_its_cameras_say_themselves(site: Site) -> None:
    token = await site.world.account("lan", "administrator")
    await record(site, NORTH, 10)
    await ok(site, "PUT", f"/api/v1/cameras/{NORTH}/retention", token, json={"max_age_days": 20})
    shown = await ok(site, "POST", "/api/v1/places/north/retention/preview", token, json={"max_age_days": 3})
    assert (shown["objects"], shown["cameras"]) == (0, [])


async def test_where_storage_locks_in_compliance_mode_size_is_no_policy(tmp_path: Path) -> None:
    storage = StorageSettings(object_lock="compliance", lock_days=10)
    async with make_site(tmp_path, storage=storage) as site:
        token = await site.world.account("lan", "administrator")
        path = f"/api/v1/cameras/{NORTH}/retention"
        for way, method in ((path, "PUT"), (f"{path}/preview", "POST")):
            refused = await site.problem(method, way, token, json={"max_size_bytes": 5})
            assert refused == (400, "size_policy_locked")
        shown = await ok(site, "PUT", path, token, json={"max_age_days": 2, "max_size_bytes": 0})
        assert (shown["effective"]["max_age_days"], shown["effective"]["locked_days"]) == (2, 10)
        await record(site, NORTH, 5, 11)
        preview = await ok(site, "POST", f"{path}/preview", token, json={"max_age_days": 2})
        assert preview["objects"] == 1, "the other one is locked"


# --- holds ---------------------------------------------------------------------------------------

HOLD = {
    "start": "2026-01-01T00:00:00Z",
    "end": "2026-01-01T01:00:00Z",
    "reason": "Trộm xe ở cổng",
    "case_number": "12/2026",
    "until": "2099-01-01T00:00:00Z",
}


async def rows(site: Site, table: Any) -> list[Any]:
    return list(await site.world.services.catalogue.read(lambda connection: connection.execute(select(table)).all()))


async def test_a_hold_is_placed_listed_and_released_and_its_row_stays(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    path = f"/api/v1/cameras/{NORTH}/holds"
    placed = await ok(site, "POST", path, token, json=HOLD)
    assert (placed["active"], placed["placed_by"], placed["case_number"]) == (True, "lan", "12/2026")
    second = await ok(site, "POST", path, token, json=HOLD | {"reason": "overlaps"})
    listed = (await ok(site, "GET", "/api/v1/holds?active=1", token))["holds"]
    assert [one["id"] for one in listed] == [second["id"], placed["id"]]
    released = await ok(site, "POST", f"/api/v1/holds/{placed['id']}/release", token, json={"reason": "closed"})
    assert (released["active"], released["released_by"], released["release_reason"]) == (False, "lan", "closed")
    again = await site.problem("POST", f"/api/v1/holds/{placed['id']}/release", token, json={"reason": "x"})
    assert again == (409, "hold_ended")
    assert [one["id"] for one in (await ok(site, "GET", "/api/v1/holds?active=1", token))["holds"]] == [second["id"]]
    assert len((await ok(site, "GET", "/api/v1/holds", token))["holds"]) == 2
    assert len(await rows(site, hold)) == 2
    assert [row.kind for row in await rows(site, outbox)] == ["hold.placed", "hold.placed", "hold.released"]
    entries = [one for one in await site.world.log() if one.action.startswith("hold.")]
    assert [one.action for one in entries] == ["hold.placed", "hold.placed", "hold.released"]
    assert entries[0].detail["reason"] == "Trộm xe ở cổng"


async def test_a_hold_expires_by_itself(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    until = format_time(START_US + HOUR_US)
    placed = await ok(site, "POST", f"/api/v1/cameras/{NORTH}/holds", token, json=HOLD | {"until": until})
    site.world.clock.advance(3601)
    assert (await ok(site, "GET", f"/api/v1/holds/{placed['id']}", token))["active"] is False
    assert (await ok(site, "GET", "/api/v1/holds?active=1", token))["holds"] == []


async def test_holds_that_say_too_little_are_refused(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    for change, code in (
        ({"reason": ""}, "request_invalid"),
        ({"reason": "  "}, "request_invalid"),
        ({"end": HOLD["start"]}, "time_invalid"),
        ({"start": None}, "time_invalid"),
        ({"until": "2020-01-01T00:00:00Z"}, "time_invalid"),
        ({"case_number": "x" * 101}, "request_invalid"),
    ):
        refused = await site.problem("POST", f"/api/v1/cameras/{NORTH}/holds", token, json=HOLD | change)
        assert refused == (400, code), change
    assert await rows(site, hold) == []


async def test_holds_elsewhere_are_not_there(site: Site) -> None:
    north = await site.world.account("lan", "auditor")
    south = await site.world.account("minh", "auditor", place="south")
    placed = await ok(site, "POST", f"/api/v1/cameras/{NORTH}/holds", north, json=HOLD)
    assert (await ok(site, "GET", "/api/v1/holds", south))["holds"] == []
    path = f"/api/v1/holds/{placed['id']}"
    assert await site.problem("GET", path, south) == (404, "hold_not_found")
    assert await site.problem("POST", f"{path}/release", south, json={"reason": "x"}) == (404, "hold_not_found")
    assert (await ok(site, "GET", path, north))["active"] is True


# --- receipts ------------------------------------------------------------------------------------


async def test_a_receipt_is_listed_and_downloaded_as_it_was_signed(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    key = NodeKey.generate()
    footage = [{"camera": NORTH, "objects": 3, "size_bytes": 9, "spans": []}]
    document = build_receipt("retention", "node-1", START_US, footage, [], 30)
    receipt = sign_receipt("retention", document, "node-1", key.sign, START_US, 5)
    number = await site.world.services.catalogue.write(add_receipt, receipt)
    (listed,) = (await ok(site, "GET", "/api/v1/receipts", token))["receipts"]
    assert (listed["objects"], listed["size_bytes"], listed["keys"]) == (3, 9, 0)
    assert listed["sentence"] == "Destroyed as far as this system knows."
    body = await ok(site, "GET", f"/api/v1/receipts/{number}", token)
    verify_signature(key.public, base64.b64decode(body["signature"]), CONTEXT + body["document"].encode())
    assert json.loads(body["document"])["last_backup_expires_at"] == from_us(START_US + 30 * DAY_US).isoformat()
    assert await site.problem("GET", "/api/v1/receipts/999", token) == (404, "receipt_not_found")
