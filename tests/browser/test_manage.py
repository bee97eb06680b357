"""Looking after cameras, the access log and the system's state."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from load_tests.stack import Stack

SIZE = re.compile("640 . 360")


async def test_a_wrong_password_is_told_before_the_camera_is_added(wall: Page, server: Stack) -> None:
    await _check(wall, server, password="not the camera's password")
    failed = wall.get_by_test_id("add-failed")
    await expect(failed).to_contain_text("credentials_wrong")
    await expect(failed).to_contain_text("Camera từ chối tên đăng nhập hoặc mật khẩu.")


async def test_a_camera_that_can_be_used_shows_what_was_picked_and_why(wall: Page, server: Stack) -> None:
    await _check(wall, server, password=server.farm.addresses()[0].password)
    checked = wall.get_by_test_id("add-checked")
    await expect(checked).to_contain_text(SIZE)
    await expect(checked).to_contain_text(re.compile("H.?264", re.IGNORECASE))


async def _check(wall: Page, server: Stack, password: str) -> None:
    address = server.farm.addresses()[0]
    await wall.goto("/#/cameras")
    await wall.get_by_test_id("add-camera").click()
    dialog = wall.get_by_test_id("add-dialog")
    await dialog.locator("input[name=address]").fill(address.address)
    await dialog.locator("input[name=username]").fill(address.username)
    await dialog.locator("input[name=password]").fill(password)
    await dialog.get_by_test_id("check").click()


async def test_a_camera_is_added_and_removed_again(wall: Page, server: Stack) -> None:
    before = set(server.client.cameras())
    await _check(wall, server, password=server.farm.addresses()[0].password)
    dialog = wall.get_by_test_id("add-dialog")
    await expect(dialog.get_by_test_id("add-checked")).to_be_visible()
    await dialog.locator("input[name=name]").fill("Cổng phụ")
    await dialog.locator("select[name=recording_mode]").select_option("off")
    await dialog.get_by_test_id("add").click()
    row = wall.get_by_test_id("cameras").locator("tr", has_text="Cổng phụ")
    await expect(row).to_be_visible()
    assert len(set(server.client.cameras()) - before) == 1
    await row.get_by_test_id("remove").click()
    await wall.get_by_test_id("confirm-remove").click()
    await expect(row).to_have_count(0)
    assert set(server.client.cameras()) == before


async def test_the_table_tells_state_recording_and_what_was_picked(wall: Page, server: Stack) -> None:
    await wall.goto("/#/cameras")
    for camera_id in server.cameras:
        row = wall.locator(f"tr[data-camera='{camera_id}']")
        await expect(row.get_by_test_id("state")).to_have_attribute("data-state", "live")
        await expect(row.get_by_test_id("recording")).to_have_attribute("data-state", "recording")
        await expect(row).to_contain_text(SIZE)


async def test_the_access_log_names_the_one_who_looks_at_it(wall: Page, server: Stack) -> None:
    await wall.goto("/#/access-log")
    newest = wall.get_by_test_id("access-log").locator("tbody tr").first
    await expect(newest).to_contain_text(server.username)


async def test_the_system_page_tells_of_node_spool_and_storage(wall: Page) -> None:
    await wall.goto("/#/status")
    status = wall.get_by_test_id("status")
    for title in ("Máy chủ", "Công suất", "Vùng đệm cục bộ", "Kho lưu trữ"):
        await expect(status.get_by_role("heading", name=title)).to_be_visible()
