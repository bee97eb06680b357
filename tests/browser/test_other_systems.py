"""RTSP logins made on the page: they read as they say, and no longer once they are revoked."""

from __future__ import annotations

import asyncio
from typing import Any

import imageio_ffmpeg
from playwright.async_api import Locator, Page, Route, expect

from load_tests.stack import Stack
from tests.browser.screen import moves, until

READ_S = 30.0


async def make_login(wall: Page, name: str, camera: str = "") -> Locator:
    """Makes one by the account's menu; the dialog that shows it."""
    await wall.get_by_test_id("account").click()
    await wall.get_by_test_id("other-systems").click()
    await wall.get_by_test_id("make-login").click()
    dialog = wall.get_by_test_id("make-dialog")
    await dialog.locator("input[name=name]").fill(name)
    await dialog.locator("select[name=camera]").select_option(camera)
    await dialog.locator("select[name=lifetime]").select_option("day")
    await dialog.get_by_test_id("make").click()
    made = wall.get_by_test_id("made-dialog")
    await made.wait_for()
    return made


async def revoke(wall: Page, name: str) -> None:
    row = wall.get_by_test_id("rtsp-logins").locator("tr", has_text=name)
    await row.get_by_test_id("revoke").click()
    await wall.get_by_test_id("confirm-revoke").click()
    await expect(row).to_have_count(0)


async def read(url: str, pictures: int = 5) -> tuple[int, str]:
    """Exit code of an ffmpeg that decodes so many pictures of `url`, and what it says (the end: how many)."""
    # the server's certificate is of its own making
    tls = ("-tls_verify", "0") if url.startswith("rtsps:") else ()
    how = ("-rtsp_transport", "tcp", *tls) if url.startswith("rtsp") else ()
    over = (*how, "-i", url, "-an", "-frames:v", str(pictures), "-f", "null", "-")
    process = await asyncio.create_subprocess_exec(
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-progress", "pipe:1", *over),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), READ_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def url_in(made: Locator, name: str) -> str:
    return await made.locator(f"[name={name}]").input_value()


async def test_a_login_reads_the_cameras_until_it_is_revoked(wall: Page, server: Stack) -> None:
    made = await make_login(wall, "Đầu ghi thử")
    await made.locator("select[name=shown]").select_option(server.cameras[1])
    urls = [await url_in(made, name) for name in ("rtsp-main", "rtsp-sub", "rtsps-main", "rtsps-sub")]
    for url in urls:
        code, said = await read(url)
        assert (code, "frame=5" in said) == (0, True), said
    await made.get_by_test_id("done").click()
    row = wall.get_by_test_id("rtsp-logins").locator("tr", has_text="Đầu ghi thử")
    await expect(row).to_contain_text("Mọi camera tôi được xem")
    password = urls[0].partition("@")[0].rpartition(":")[2]
    assert len(password) > 20
    assert password not in await wall.content(), "it is shown once"
    await revoke(wall, "Đầu ghi thử")
    code, said = await read(urls[0])
    assert code != 0
    assert "401" in said


async def test_a_login_of_one_camera_reads_no_other(wall: Page, server: Stack) -> None:
    one, other = server.cameras[:2]
    made = await make_login(wall, "Một camera", one)
    await expect(made.locator("select[name=shown]")).to_have_count(0)
    await wall.set_viewport_size({"width": 390, "height": 560})
    await expect(made.get_by_test_id("done")).to_be_in_viewport(ratio=1)
    assert await made.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth"), "it fits a phone"
    url = await url_in(made, "rtsp-sub")
    assert f"/{one}/" in url
    assert (await read(url))[0] == 0
    code, said = await read(url.replace(f"/{one}/", f"/{other}/"))
    assert code != 0
    assert "404" in said
    await made.get_by_test_id("done").click()
    await revoke(wall, "Một camera")


async def test_what_is_copied_is_what_is_shown(wall: Page, server: Stack) -> None:
    await wall.context.grant_permissions(["clipboard-read", "clipboard-write"])
    made = await make_login(wall, "Sao chép")
    for name in ("password", "rtsps-main"):
        await made.get_by_test_id(f"copy-{name}").click()
        shown = await url_in(made, name)

        async def copied(shown: str = shown) -> bool:
            return bool(await wall.evaluate("navigator.clipboard.readText()") == shown)

        await until(copied)
    await made.get_by_test_id("done").click()
    await revoke(wall, "Sao chép")


async def test_a_page_without_a_clipboard_copies_all_the_same(wall: Page, server: Stack) -> None:
    """Over plain HTTP from elsewhere there is none: the text is selected, and copied by the older way."""
    await wall.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await wall.reload()
    made = await make_login(wall, "Không có clipboard")
    await made.get_by_test_id("copy-rtsp-main").click()
    selected = await made.locator("[name=rtsp-main]").evaluate(
        "input => input.value.slice(input.selectionStart, input.selectionEnd)"
    )
    assert selected == await url_in(made, "rtsp-main")
    await expect(made.get_by_role("status").filter(has_text="Đã sao chép")).to_have_count(1)
    await made.get_by_test_id("done").click()
    await revoke(wall, "Không có clipboard")


async def test_a_camera_s_addresses_for_other_players(wall: Page, server: Stack) -> None:
    camera = server.cameras[0]
    await wall.goto(f"/#/camera/{camera}")
    await wall.get_by_test_id("other-players").click()
    players = wall.get_by_test_id("players-dialog")
    await players.get_by_test_id("make-hls").click()
    hls = await url_in(players, "hls")
    code, said = await read(hls)
    assert (code, "frame=5" in said) == (0, True), said
    await wall.goto(await url_in(players, "watch"))
    await moves(wall.locator("video"))


async def test_ports_that_are_off_are_said_to_be(wall: Page) -> None:
    async def closed(route: Route) -> None:
        body: dict[str, Any] = {"rtsp_logins": [], "rtsp": {"port": 0, "tls_port": 0, "local_only": True}}
        await route.fulfill(json=body)

    await wall.route("**/api/v1/rtsp-logins", closed)
    await wall.goto("/#/other-systems")
    await expect(wall.get_by_test_id("rtsp-off")).to_contain_text("RTSP đang tắt")
    await expect(wall.get_by_test_id("make-login")).to_be_disabled()
