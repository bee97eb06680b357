"""Getting in, and being thrown out."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from load_tests.stack import Stack
from tests.browser.screen import log_in


async def test_a_wrong_password_is_refused_with_a_sentence(page: Page, server: Stack) -> None:
    await log_in(page, server.username, "not the password")
    await expect(page.get_by_role("alert")).to_contain_text("Sai tên đăng nhập hoặc mật khẩu.")
    await expect(page.get_by_test_id("tile")).to_have_count(0)


async def test_nothing_is_shown_before_logging_in_and_everything_granted_after(page: Page, server: Stack) -> None:
    await page.goto(f"/#/camera/{server.cameras[0]}")
    await expect(page.get_by_test_id("login")).to_be_visible()
    await expect(page.locator("video")).to_have_count(0)
    await log_in(page, server.username, server.password)
    await expect(page.get_by_test_id("camera-page")).to_have_attribute("data-camera", server.cameras[0])


async def test_logging_out_ends_the_session_on_the_server_too(wall: Page) -> None:
    await wall.get_by_test_id("account").click()
    await wall.get_by_test_id("logout").click()
    await expect(wall.get_by_test_id("login")).to_be_visible()
    await wall.reload()
    await expect(wall.get_by_test_id("login")).to_be_visible()


async def test_a_session_that_ended_elsewhere_leads_back_to_the_login(wall: Page) -> None:
    await wall.context.clear_cookies()
    await expect(wall.get_by_test_id("login")).to_be_visible()
    await expect(wall.get_by_role("status").first).to_contain_text("Phiên làm việc đã kết thúc")
    assert await wall.evaluate("Object.keys(window.mediasrvDebug.peers)") == []


async def test_both_languages_are_there_and_the_choice_is_remembered(wall: Page) -> None:
    navigation = wall.get_by_role("navigation")
    await expect(navigation).to_contain_text("Nhật ký truy cập")
    await wall.get_by_test_id("language").click()
    await expect(navigation).to_contain_text("Access log")
    await wall.reload()
    await expect(navigation).to_contain_text("Access log")
    await expect(wall.locator("html")).to_have_attribute("lang", "en")
    await wall.get_by_test_id("language").click()
    await expect(wall.get_by_test_id("summary")).to_contain_text(re.compile(r"\d trực tiếp"))


async def test_an_invitation_wants_a_long_password_twice(page: Page) -> None:
    await _accept(page, "short", "short")
    await expect(page.get_by_role("alert")).to_contain_text("Mật khẩu cần ít nhất 12 ký tự.")
    await _accept(page, "long enough to keep", "long enough to forget")
    await expect(page.get_by_role("alert")).to_contain_text("Hai mật khẩu không giống nhau.")


async def test_an_invitation_that_nobody_made_is_refused_with_a_sentence(page: Page) -> None:
    await _accept(page, "long enough to keep", "long enough to keep")
    await expect(page.get_by_role("alert")).not_to_be_empty()
    await expect(page.get_by_test_id("invite")).to_be_visible()


async def _accept(page: Page, password: str, repeated: str) -> None:
    await page.goto("/invite/no-such-invitation")
    await page.locator("input[name=username]").fill("first")
    await page.locator("input[name=password]").fill(password)
    await page.locator("input[name=repeat]").fill(repeated)
    await page.locator("button[type=submit]").click()
