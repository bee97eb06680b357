"""The advanced part of the camera forms: a certificate pinned by one click, and which streams are used for what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from load_tests.stack import CameraFarm, Stack
from tests.browser.screen import moves, open_camera, tile_of, until

NAME = "Kho vật tư"


@pytest_asyncio.fixture(loop_scope="session")
async def dock(tmp_path: Path) -> AsyncIterator[CameraFarm]:
    """A camera that speaks RTSPS with a certificate that it signed itself."""
    options = {"cameras": 1, "mode": "load", "tls": "on", "width": 960, "height": 540, "rate": 15, "gop": 1}
    farm = await asyncio.to_thread(CameraFarm, tmp_path / "dock.log", **options)
    yield farm
    await asyncio.to_thread(farm.stop)


async def _fill(page: Page, dock: CameraFarm) -> Locator:
    await page.goto("/#/cameras")
    await page.get_by_test_id("add-camera").click()
    dialog = page.get_by_test_id("add-dialog")
    urls = dock.cameras[0]["rtsps_urls"]
    login = dock.addresses()[0]
    await dialog.locator("input[name=address]").fill(urls["main"])
    await dialog.locator("input[name=sub_address]").fill(urls["sub"])
    await dialog.locator("input[name=username]").fill(login.username)
    await dialog.locator("input[name=password]").fill(login.password)
    await dialog.locator("input[name=name]").fill(NAME)
    await dialog.locator("input[name=attested]").check()
    return dialog


def _added(server: Stack) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in server.client.cameras().values() if one["name"] == NAME)
    return found


@pytest.mark.timeout(120)
async def test_a_certificate_is_shown_and_pinned_by_one_click_and_the_substream_recorded(
    tidied: Page, server: Stack, dock: CameraFarm
) -> None:
    page, dialog = tidied, await _fill(tidied, dock)
    await expect(dialog.get_by_test_id("advanced")).not_to_have_attribute("open", "")
    await dialog.get_by_test_id("check").click()
    await expect(dialog.get_by_test_id("add-failed")).to_contain_text("tls_untrusted")
    shown = await dialog.get_by_test_id("shown-fingerprint").inner_text()
    await dialog.get_by_test_id("pin").click()
    await expect(dialog.get_by_test_id("add-checked")).to_be_visible()
    await expect(dialog.get_by_test_id("pin-offer")).to_have_count(0)
    await expect(dialog.locator("select[name=transport]")).to_have_count(0)
    await dialog.locator("select[name=record_stream]").select_option("sub")
    await dialog.get_by_test_id("add").click()
    await expect(dialog).to_have_count(0)
    camera = _added(server)
    assert camera["tls_fingerprint"] == shown.replace(":", "").lower() == dock.cameras[0]["certificate_sha256"]
    assert (camera["record_stream"], camera["grid_stream"], camera["transport"]) == ("sub", "sub", None)
    row = page.locator(f"tr[data-camera='{camera['id']}']")
    await expect(row.get_by_test_id("recording")).to_have_attribute("data-state", "recording")
    await expect(row).to_contain_text("Luồng phụ")
    await _its_page_plays_the_main_stream_and_the_footage_of_the_sub(page, camera["id"])


async def _its_page_plays_the_main_stream_and_the_footage_of_the_sub(page: Page, camera_id: str) -> None:
    await page.goto("/#/")
    video = await open_camera(page, camera_id)
    await moves(video)
    await expect(page.get_by_test_id("resolution")).to_contain_text("960", timeout=20_000)  # the line is tried first
    await expect(page.get_by_test_id("camera-transport")).to_have_text("TLS")
    await expect(page.get_by_test_id("footage-sub")).to_have_attribute("aria-pressed", "true")
    await page.get_by_test_id("back-10").click()
    await expect(page.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")
    recorded = page.locator("[data-testid=camera-page] video")
    await moves(recorded)
    await expect(page.get_by_test_id("resolution")).to_contain_text("640")
    await page.get_by_test_id("footage-main").click()
    await expect(page.get_by_test_id("no-footage")).to_be_visible()


async def test_another_certificate_than_the_pinned_one_is_told_apart(tidied: Page, dock: CameraFarm) -> None:
    dialog = await _fill(tidied, dock)
    await dialog.get_by_test_id("advanced").locator("summary").click()
    fingerprint = dialog.locator("input[name=tls_fingerprint]")
    await fingerprint.fill("12:34")
    await dialog.get_by_test_id("check").click()
    await expect(dialog).to_contain_text("64 chữ số thập lục phân")
    await expect(dialog.get_by_test_id("add-failed")).to_have_count(0)
    await fingerprint.fill("ab" * 32)
    await dialog.get_by_test_id("check").click()
    await expect(dialog.get_by_test_id("pin-offer")).to_contain_text("không phải chứng chỉ đã ghim")


@pytest.mark.timeout(120)
async def test_what_a_tile_shows_and_how_media_comes_are_changed_in_the_form(tidied: Page, server: Stack) -> None:
    page, login = tidied, server.farm.addresses()[0]
    body = {
        "id": "twin",
        "name": NAME,
        "address": login.address,
        "username": login.username,
        "recording": {"mode": "off"},
    }
    server.client.call("POST", "/api/v1/cameras", body | {"password": login.password})
    tile = tile_of(page, "twin")
    await expect(tile).to_have_attribute("data-stream", "sub")
    await page.goto("/#/cameras")
    await page.locator("tr[data-camera=twin]").get_by_test_id("edit").click()
    dialog = page.get_by_test_id("edit-dialog")
    await dialog.get_by_test_id("advanced").locator("summary").click()
    await expect(dialog.locator("select[name=record_stream]")).to_be_disabled()
    await dialog.locator("select[name=grid_stream]").select_option("main")
    await dialog.locator("select[name=transport]").select_option("udp")
    await dialog.get_by_test_id("save").click()
    await expect(dialog).to_have_count(0)
    camera = server.client.cameras()["twin"]
    assert (camera["grid_stream"], camera["transport"], camera["record_stream"]) == ("main", "udp", "main")
    await page.goto("/#/")
    await expect(tile).to_have_attribute("data-stream", "main")
    await moves(tile.locator("video"))

    async def comes_by_udp() -> bool:
        return bool(server.client.cameras()["twin"]["streams"]["main"]["transport"] == "udp")

    await until(comes_by_udp)
