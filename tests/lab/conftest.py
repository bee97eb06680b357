"""The whole server at one end of a link, Chromium at the other. Needs root; where it cannot be, tests are skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from load_tests import netns
from load_tests.chromium import find_chromium
from load_tests.stack import Stack, running_stack
from tests.browser.conftest import ARGUMENTS
from tests.lab.links import SERVER, SERVER_V6, Link, linked

HERE = Path(__file__).parent
_PICTURES = {"width": 960, "height": 540, "bitrate": 900, "sub-bitrate": 300, "gop": 2}
FARM = {"cameras": 1, "mode": "load", "audio": "pcma", **_PICTURES}
OVERRIDES = {"server": {"host": "0.0.0.0"}, "webrtc": {"host": [SERVER, SERVER_V6]}}  # noqa: S104 - in a network of its own
STEP_MS = 20_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share the loop of the session, in which the browser lives."""
    for item in items:
        if item.path.parent == HERE and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="module")
def shared_link() -> Iterator[Link]:
    """Two machines; the test's own thread, and so whatever it starts, is on the server's."""
    with linked() as link, netns.entered(link.server):
        yield link


@pytest.fixture
def link(shared_link: Link) -> Iterator[Link]:
    """The link, good at first; however bad a test made it, it is mended afterwards."""
    yield shared_link
    shared_link.mend()


@pytest.fixture(scope="module")
def stack(shared_link: Link, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """S3, a simulated camera with both streams (main 900 kbit/s, sub 300) and mediasrv, on the server's machine."""
    with running_stack(tmp_path_factory.mktemp("stack"), FARM, OVERRIDES) as stack:
        stack.wait_until_recording()
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chromium(shared_link: Link, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Chromium on the viewer's machine, spoken to through its pipes."""
    inside = tmp_path_factory.mktemp("chromium") / "chromium"
    inside.write_text(f'#!/bin/sh\nexec {" ".join(shared_link.viewer.prefix)} {find_chromium()} "$@"\n')
    inside.chmod(0o755)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=inside, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, stack: Stack) -> AsyncIterator[Page]:
    """A page of the server's origin that plays nothing yet; see `watching`."""
    context = await chromium.new_context(bypass_csp=True, base_url=f"http://{SERVER}:{stack.server.files.port}")
    context.set_default_timeout(STEP_MS)
    page = await context.new_page()
    await page.goto("/healthz")
    yield page
    await page.evaluate("() => window.lab?.peer.close()")
    await context.close()
