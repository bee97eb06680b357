"""Retention, holds and receipts on the page."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from playwright.async_api import Page, expect

from load_tests.stack import Stack


async def test_a_policy_is_saved_only_after_what_it_would_delete_was_shown(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[1]
    await wall.set_viewport_size({"width": 390, "height": 700})
    await wall.goto("/#/cameras")
    await wall.locator(f"tr[data-camera='{camera_id}']").get_by_test_id("retention").click()
    dialog = wall.get_by_test_id("retention-dialog")
    await dialog.locator("input[name=max_age_days]").fill("7")
    await dialog.locator("input[name=keep_motion]").fill("90")
    await expect(dialog.get_by_test_id("save")).to_have_count(0)
    await dialog.get_by_test_id("preview").click()
    await expect(dialog.get_by_test_id("retention-preview")).to_contain_text("Hiện không có gì bị xóa.")
    await expect(dialog.get_by_test_id("retention-preview")).to_be_in_viewport()
    # What was looked at is what is saved: a change needs another look.
    await dialog.locator("input[name=max_age_days]").fill("8")
    await expect(dialog.get_by_test_id("save")).to_have_count(0)
    await dialog.get_by_test_id("preview").click()
    await dialog.get_by_test_id("save").click()
    await expect(dialog).to_have_count(0)
    kept = server.client.get(f"/api/v1/cameras/{camera_id}/retention")
    assert (kept["max_age_days"], kept["keep_events"]) == (8, {"motion": 90})
    await _clear(wall, camera_id)
    kept = server.client.get(f"/api/v1/cameras/{camera_id}/retention")
    assert (kept["max_age_days"], kept["keep_events"]) == (None, {})


async def _clear(wall: Page, camera_id: str) -> None:
    await wall.locator(f"tr[data-camera='{camera_id}']").get_by_test_id("retention").click()
    dialog = wall.get_by_test_id("retention-dialog")
    await expect(dialog.locator("input[name=max_age_days]")).to_have_value("8")
    await dialog.locator("input[name=max_age_days]").fill("")
    await dialog.locator("input[name=keep_motion]").fill("")
    await dialog.get_by_test_id("preview").click()
    await dialog.get_by_test_id("save").click()
    await expect(dialog).to_have_count(0)


async def test_a_place_passes_its_policy_down(wall: Page, server: Stack) -> None:
    await wall.goto("/#/retention")
    row = wall.locator("tr[data-place=root]")
    await row.get_by_test_id("place-policy").click()
    dialog = wall.get_by_test_id("retention-dialog")
    await dialog.locator("input[name=event_after_s]").fill("77")
    await dialog.get_by_test_id("preview").click()
    await dialog.get_by_test_id("save").click()
    await expect(dialog).to_have_count(0)
    shown = server.client.get(f"/api/v1/cameras/{server.cameras[0]}/retention")
    assert (shown["effective"]["event_after_s"], shown["sources"]["event_after_s"]) == (77, "place:root")
    await wall.goto("/#/cameras")
    await wall.locator(f"tr[data-camera='{server.cameras[0]}']").get_by_test_id("retention").click()
    await expect(wall.get_by_test_id("retention-dialog")).to_contain_text("theo root")


async def test_footage_is_held_from_the_timeline_and_released_again(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[0]
    await wall.goto(f"/#/camera/{camera_id}")
    await wall.get_by_test_id("timeline").wait_for()
    await wall.get_by_test_id("hold").click()
    dialog = wall.get_by_test_id("hold-dialog")
    await dialog.get_by_test_id("place-hold").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()
    await dialog.locator("input[name=reason]").fill("Trộm xe ở cổng")
    await dialog.locator("input[name=case_number]").fill("12/2026")
    await dialog.get_by_test_id("place-hold").click()
    await expect(dialog.get_by_test_id("hold-placed")).to_be_visible()
    await dialog.get_by_test_id("hold-done").click()
    (held,) = server.client.get("/api/v1/holds?active=1")["holds"]
    assert (held["camera"], held["reason"], held["case_number"]) == (camera_id, "Trộm xe ở cổng", "12/2026")
    await wall.goto("/#/retention")
    await wall.get_by_test_id("tab-holds").click()
    row = wall.locator(f"tr[data-hold='{held['id']}']")
    await expect(row).to_contain_text("Trộm xe ở cổng")
    await row.get_by_test_id("release").click()
    release = wall.get_by_test_id("release-dialog")
    await expect(release.get_by_test_id("confirm-release")).to_be_disabled()
    await release.locator("input[name=reason]").fill("Đã bàn giao")
    await release.get_by_test_id("confirm-release").click()
    await expect(row).to_have_count(0)
    await wall.get_by_test_id("all-holds").click()
    await expect(row).to_contain_text("Đã bàn giao")
    assert server.client.get("/api/v1/holds?active=1")["holds"] == []


async def test_receipts_are_listed_and_downloaded(wall: Page, server: Stack) -> None:
    now = datetime.now(UTC)
    receipt = {
        "id": 3,
        "kind": "retention",
        "node": "node-1",
        "made_at": now.isoformat(),
        "cameras": 2,
        "objects": 1440,
        "size_bytes": 21_000_000_000,
        "keys": 24,
        "last_backup_expires_at": (now + timedelta(days=30)).isoformat(),
        "sentence": "Destroyed as far as this system knows.",
    }
    body = json.dumps({"receipts": [receipt]})
    await wall.route("**/api/v1/receipts", lambda route: route.fulfill(body=body, content_type="application/json"))
    await wall.goto("/#/retention")
    await wall.get_by_test_id("tab-receipts").click()
    table = wall.get_by_test_id("receipts")
    await expect(table).to_contain_text("Đã hủy trong phạm vi hệ thống này biết được.")
    assert await table.get_by_test_id("receipt").get_attribute("href") == "/api/v1/receipts/3"
