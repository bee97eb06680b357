"""Plans, attestations and the way of footage, as they are filled in and shown."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

from load_tests.stack import Stack

NAME = "Cổng theo sự kiện"


async def _form(page: Page, server: Stack) -> Locator:
    address = server.farm.addresses()[0]
    await page.goto("/#/cameras")
    await page.get_by_test_id("add-camera").click()
    dialog = page.get_by_test_id("add-dialog")
    for name, value in (
        *(("address", address.address), ("username", address.username)),
        *(("password", address.password), ("name", NAME)),
    ):
        await dialog.locator(f"input[name={name}]").fill(value)
    return dialog


def _added(server: Stack) -> dict[str, object]:
    found: dict[str, object] = next(one for one in server.client.cameras().values() if one["name"] == NAME)
    return found


async def test_a_camera_around_events_is_recorded_once_somebody_has_attested(tidied: Page, server: Stack) -> None:
    page, dialog = tidied, await _form(tidied, server)
    await dialog.locator("select[name=recording_mode]").select_option("event")
    await dialog.locator("input[name=tamper]").check()
    await dialog.locator("input[name=before_s]").fill("90")
    await dialog.get_by_test_id("add").click()
    await expect(dialog.get_by_test_id("plan")).to_contain_text("số giây hợp lệ")
    await dialog.locator("input[name=before_s]").fill("5")
    await expect(dialog.get_by_test_id("attest")).to_contain_text("không hướng vào nhà vệ sinh")
    await dialog.get_by_test_id("add").click()
    await expect(dialog).to_have_count(0)
    camera = _added(server)
    assert camera["recording"] == {"mode": "event", "kinds": ["motion", "tamper"], "before_s": 5.0, "after_s": 30.0}
    assert camera["attestation"] is None
    row = page.locator(f"tr[data-camera='{camera['id']}']")
    await expect(row).to_contain_text("Chưa có người cam kết")

    await row.get_by_test_id("edit").click()
    edit = page.get_by_test_id("edit-dialog")
    await edit.locator("input[name=attested]").check()
    await edit.get_by_test_id("save").click()
    await expect(edit).to_have_count(0)
    await expect(row).to_contain_text("không có sự kiện nào")
    await page.goto(f"/#/camera/{camera['id']}")
    await expect(page.get_by_test_id("plan-mode")).to_have_text("Theo sự kiện")
    await expect(page.get_by_test_id("attestation")).to_contain_text(server.username)


async def test_a_schedule_is_filled_in_by_days_and_times_and_changed_again(tidied: Page, server: Stack) -> None:
    page, dialog = tidied, await _form(tidied, server)
    await dialog.locator("select[name=recording_mode]").select_option("schedule")
    await dialog.locator("input[name=time_zone]").fill("Asia/Ho_Chi_Minh")
    await dialog.locator("input[name=from]").fill("06:30")
    await dialog.locator("input[name=to]").fill("00:00")
    await dialog.get_by_test_id("add-span").click()
    await dialog.get_by_role("group", name="Khoảng 2").locator("input[name=sun]").check()
    await dialog.locator("input[name=attested]").check()
    await dialog.get_by_test_id("add").click()
    await expect(dialog).to_have_count(0)
    camera = _added(server)
    week = ["mon", "tue", "wed", "thu", "fri"]
    assert camera["recording"] == {
        "mode": "schedule",
        "time_zone": "Asia/Ho_Chi_Minh",
        "spans": [
            {"days": week, "from": "06:30", "to": "24:00"},
            {"days": [*week, "sun"], "from": "18:00", "to": "06:00"},
        ],
    }
    await page.locator(f"tr[data-camera='{camera['id']}']").get_by_test_id("edit").click()
    edit = page.get_by_test_id("edit-dialog")
    await expect(edit.locator("input[name=to]").first).to_have_value("00:00")
    await edit.locator("select[name=recording_mode]").select_option("off")
    await edit.get_by_test_id("save").click()
    await expect(edit).to_have_count(0)
    assert _added(server)["recording"] == {"mode": "off"}


async def test_the_way_of_footage_is_one_line_of_four_steps(wall: Page, server: Stack) -> None:
    await wall.goto(f"/#/camera/{server.cameras[0]}")
    way = wall.get_by_test_id("way")
    for step in ("Đã nhận", "An toàn trên đĩa", "Trong kho lưu trữ", "Trong danh mục"):
        await expect(way).to_contain_text(step)
    await expect(way.locator("li[data-done=true]").nth(1)).to_be_visible()
