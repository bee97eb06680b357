"""Chromium, driven by Playwright, on the page that the real server serves (`server` is in tests/conftest.py)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from load_tests.stack import Stack
from tests.browser.screen import log_in

HERE = Path(__file__).parent
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
STEP_MS = 15_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share the loop of the session, in which the browser lives."""
    for item in items:
        if item.path.parent == HERE and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for the run; `CHROMIUM` names another binary."""
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert binary, "There is no chromium: install Debian's package `chromium`, or name a binary in CHROMIUM."
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, server: Stack) -> AsyncIterator[Page]:
    """The page, logged out. At the end nothing may have broken in it, and the security policy nothing refused."""
    context = await chromium.new_context(viewport={"width": 1440, "height": 900}, base_url=server.url)
    context.set_default_timeout(STEP_MS)
    page = await context.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda message: broken.append(message.text) if _refused(message) else None)
    await page.goto("/")
    yield page
    await _leave(page, server)
    await context.close()
    assert broken == []


async def _leave(page: Page, server: Stack) -> None:
    """Lets the page say goodbye for its WebRTC viewers, which would else be there for the next test, up to 30 s.

    Closing the context at once would cut it short. HLS viewers say none: so it is waited for a moment only.
    """
    await page.goto("about:blank")
    for _ in range(20):
        streams = [stream for camera in server.client.cameras().values() for stream in camera["streams"].values()]
        if not any(stream["viewers"] for stream in streams):
            return
        await asyncio.sleep(0.1)


def _refused(message: ConsoleMessage) -> bool:
    return message.type == "error" and "Content Security Policy" in message.text


@pytest_asyncio.fixture(loop_scope="session")
async def wall(page: Page, server: Stack) -> Page:
    """The page after logging in."""
    await log_in(page, server.username, server.password)
    await page.get_by_test_id("tile").first.wait_for()
    return page


@pytest_asyncio.fixture(loop_scope="session")
async def tidied(wall: Page, server: Stack) -> AsyncIterator[Page]:
    """The wall; what a test has added is gone in the end, whatever became of it."""
    before = set(server.client.cameras())
    yield wall
    for camera_id in set(server.client.cameras()) - before:
        server.client.call("DELETE", f"/api/v1/cameras/{camera_id}")
