"""The page that says which cameras can be linked."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from load_tests.stack import CameraFarm, Stack

NEW_S = 40_000


@pytest.fixture
def others(tmp_path: Path) -> Iterator[CameraFarm]:
    """Cameras that the server does not know yet: a good one, and one that loses packets."""
    farm = CameraFarm(tmp_path / "others.log", cameras=2, mode="load", fault=["cam-2:loss,share=0.05"])
    yield farm
    farm.stop()


async def test_a_survey_from_the_list_to_the_table_and_to_a_new_camera(
    wall: Page, server: Stack, others: CameraFarm, tmp_path: Path
) -> None:
    good, lossy = others.addresses()
    known = server.farm.addresses()[0]
    await wall.goto("/#/cameras")
    await wall.get_by_test_id("survey").click()
    await wall.get_by_test_id("survey-start").click()
    await expect(wall.locator(".survey-form")).to_contain_text("Hãy nhập ít nhất một địa chỉ")

    await wall.locator("textarea[name=devices]").fill(f"{good.address}, {lossy.address}\n127.0.0.1:9 {known.address}")
    await wall.locator("input[name=username]").fill(good.username)
    await wall.locator("input[name=password]").fill(good.password)
    await wall.get_by_test_id("survey-start").click()
    results = wall.get_by_test_id("survey-results")
    await expect(results).to_have_attribute("data-state", "done", timeout=NEW_S)

    rows = wall.get_by_test_id("survey-rows")
    for address, verdict, code in (
        (good.address, "eligible", "survey_passed"),
        (lossy.address, "not_eligible", "loss_too_high"),
        ("127.0.0.1:9", "not_eligible", "port_closed"),
        (known.address, "eligible", "in_service"),
    ):
        row = rows.locator(f"tr[data-address='{address}']")
        await expect(row).to_have_attribute("data-verdict", verdict)
        await expect(row).to_contain_text(code)
    await expect(rows).to_contain_text("Mất quá nhiều gói dữ liệu từ camera")

    async with wall.expect_download() as download:
        await wall.get_by_test_id("survey-csv").click()
    table = tmp_path / "survey.csv"
    await (await download.value).save_as(table)
    text = table.read_text(encoding="utf-8-sig")
    found = {one["address"]: one["code"] for one in csv.DictReader(text.splitlines())}
    assert found[lossy.address] == "loss_too_high"
    assert good.password not in text

    await wall.get_by_test_id("language").click()
    await expect(rows).to_contain_text("Too many packets are lost on the way from the camera")
    assert await rows.get_by_test_id("survey-add").count() == 1  # of what is eligible and not here yet
    await rows.get_by_test_id("survey-add").click()
    dialog = wall.get_by_test_id("add-dialog")
    await expect(dialog.locator("input[name=address]")).to_have_value(good.address)
    await expect(dialog.locator("input[name=password]")).to_have_value(good.password)


async def test_a_survey_is_stopped_and_is_there_after_a_reload(wall: Page, others: CameraFarm) -> None:
    lines = [f"{one.address},{one.username},{one.password},A" for one in others.addresses()]
    await wall.goto("/#/survey")
    table = "\n".join(["address,username,password,place", *lines])
    await wall.locator("textarea[name=devices]").fill(table)
    await wall.get_by_test_id("survey-start").click()
    await wall.get_by_test_id("survey-cancel").click()
    results = wall.get_by_test_id("survey-results")
    await expect(results).to_have_attribute("data-state", "cancelled", timeout=NEW_S)
    await wall.reload()
    await expect(results).to_have_attribute("data-state", "cancelled")
    await expect(wall.get_by_test_id("survey-rows").locator("tbody tr")).to_have_count(2)
