"""An auditor takes footage out: from the timeline to a ZIP that verifies."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from load_tests.stack import Stack
from mediasrv import verifier
from mediasrv.storage.keys import NodeKey
from tests.browser.screen import open_camera

PURPOSE = "Vụ 12/2026"


def _node_key(server: Stack) -> str:
    """As the operator of the server knows it: out of the key file."""
    return NodeKey.load_or_create(server.server.files.directory / "data" / "node.key").public.hex()


@pytest.mark.timeout(150)
async def test_from_the_timeline_to_a_package_that_verifies(wall: Page, server: Stack, tmp_path: Path) -> None:
    camera_id, other = server.cameras[:2]
    await open_camera(wall, camera_id)
    await wall.get_by_test_id("export").click()
    dialog = wall.get_by_test_id("export-dialog")
    start = dialog.get_by_test_id("export-start")
    await expect(dialog.locator(f"input[name=camera-{camera_id}]")).to_be_checked()
    await expect(start).to_be_disabled()
    await dialog.locator(f"input[name=camera-{other}]").check()
    await dialog.locator("input[name=purpose]").fill(PURPOSE)
    await expect(start).to_be_enabled()
    await start.click()
    row = wall.locator("[data-testid=exports] tbody tr").first
    await expect(row).to_contain_text(PURPOSE)
    await expect(row).to_have_attribute("data-state", "ready", timeout=60_000)
    async with wall.expect_download() as downloading:
        await row.get_by_test_id("download").click()
    path = tmp_path / "export.zip"
    await (await downloading.value).save_as(path)
    assert verifier.run(path, _node_key(server)) == verifier.VERIFIED
    await row.get_by_test_id("remove").click()
    await wall.get_by_test_id("confirm-remove-export").click()
    await expect(wall.get_by_test_id("empty")).to_be_visible()


async def test_an_export_without_an_end_behind_its_start_cannot_be_asked_for(wall: Page, server: Stack) -> None:
    await open_camera(wall, server.cameras[0])
    await wall.get_by_test_id("export").click()
    dialog = wall.get_by_test_id("export-dialog")
    await dialog.locator("input[name=purpose]").fill(PURPOSE)
    await dialog.locator("input[name=start]").fill("2030-01-01T00:00:00")
    await expect(dialog.get_by_test_id("export-start")).to_be_disabled()
    await expect(dialog.locator(".field-error")).to_be_visible()
    await wall.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
