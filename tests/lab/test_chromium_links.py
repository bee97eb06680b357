"""Chromium watches over links that are bad in one way each: what a person sees goes on.

Every test looks at the link, too: a loss that lost nothing would prove nothing.
"""

from __future__ import annotations

from statistics import median

import pytest
from playwright.async_api import Page

from load_tests.child import child_process, read_json
from load_tests.stack import Stack
from tests.lab.links import ELSEWHERE, SERVER, SERVER_V6, Link
from tests.lab.watching import holds_back, join, plays, shows, stats, watch

RATE = 25
WATCHED_S = 12.0
MAIN_LINES, SUB_LINES = 540, 360
BOUND_MS = 1500
"""How far behind live a picture may ever be, on a link that carries the stream."""
STANDSTILL_S = 2.5
"""Nothing is still for longer than to the next keyframe, 2 s; it is looked four times a second."""


async def test_a_good_link_shows_every_picture_at_once(page: Page, stack: Stack, link: Link) -> None:
    await join(page, stack)
    seen = await watch(page, WATCHED_S / 2)
    assert (seen.freezes, seen.asked_again) == (0, 0)
    assert seen.shown_rate > 0.9 * RATE, seen
    assert median(seen.behind_ms) < 300, seen
    assert (await stats(page))["audio"]["packetsLost"] == 0


@pytest.mark.timeout(120)
async def test_two_percent_loss_freezes_nothing_once_it_is_known(page: Page, stack: Stack, link: Link) -> None:
    """An answer may get lost as well, so what is missing comes a tenth of a second later than the picture was due."""
    await join(page, stack)
    link.lose(2)
    await holds_back(page, 150)
    seen = await watch(page, WATCHED_S)
    assert link.hit(link.viewer) > 10
    assert seen.asked_again > 0
    assert (seen.freezes, seen.frozen_s) == (0, 0), seen
    assert seen.rate > 0.97 * RATE
    assert max(seen.behind_ms) < BOUND_MS, seen


async def test_a_handshake_gets_through_loss(page: Page, stack: Stack, link: Link) -> None:
    link.lose(20)
    await join(page, stack, "stream=sub")
    assert link.hit(link.viewer) > 0


async def test_a_rate_below_the_stream_is_survived_and_left_behind(page: Page, stack: Stack, link: Link) -> None:
    await join(page, stack)
    link.hold_to(600)
    held = await watch(page, WATCHED_S)
    assert held.asked_again > 0, "the link held nothing back"
    link.let_go()
    await plays(page, 2 * RATE)
    after = await watch(page, WATCHED_S / 2)
    assert (after.freezes, after.frozen_s) == (0, 0), after
    assert after.rate > 0.95 * RATE
    assert median(after.behind_ms) < BOUND_MS, after


async def test_a_viewer_whose_router_forgot_goes_on(page: Page, stack: Stack, link: Link) -> None:
    await join(page, stack, only=f" {SERVER} ")
    link.roam()
    await plays(page, 1)
    seen = await watch(page, WATCHED_S)
    assert link.hit(link.viewer) > 0
    assert seen.frozen_s < 5, seen
    after = await watch(page, WATCHED_S / 2)
    assert after.rate > 0.95 * RATE, after
    assert after.freezes == 0


async def test_delay_and_reordering_freeze_nothing(page: Page, stack: Stack, link: Link) -> None:
    port = str(stack.server.files.webrtc_port)
    # 40 to 80 ms each way: at 90 packets a second many overtake others.
    with child_process("tests.lab.udp_relay", ELSEWHERE, SERVER, port, "40", "40", prefix=link.viewer.prefix) as relay:
        read_json(relay)
        await join(page, stack, only=f" {SERVER} ", replace=[SERVER, ELSEWHERE])
        seen = await watch(page, WATCHED_S)
        assert (await stats(page))["remote"] == ELSEWHERE
    assert (seen.freezes, seen.frozen_s) == (0, 0), seen
    assert seen.rate > 0.97 * RATE
    assert max(seen.behind_ms) < BOUND_MS, seen


async def test_ipv6_alone_carries_it(page: Page, stack: Stack, link: Link) -> None:
    await join(page, stack, only=f" {SERVER_V6} ")
    seen = await watch(page, WATCHED_S / 2)
    assert (await stats(page))["remote"] == SERVER_V6
    assert (seen.freezes, seen.asked_again) == (0, 0)
    assert seen.shown_rate > 0.9 * RATE, seen  # the cached pictures may be among them


async def test_where_udp_is_blocked_tcp_carries_it(page: Page, stack: Stack, link: Link) -> None:
    link.block_udp()
    await join(page, stack)
    seen = await watch(page, WATCHED_S)
    assert link.hit(link.server) > 0, "nobody tried UDP"
    assert (await stats(page))["protocol"] == "tcp"
    assert (seen.freezes, seen.frozen_s) == (0, 0), seen
    assert seen.rate > 0.97 * RATE


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("queue_ms", "share"), [(800, 0.6), (100, 0.4)])
async def test_a_weak_link_keeps_a_moving_picture_on_auto(
    page: Page, stack: Stack, link: Link, queue_ms: int, share: float
) -> None:
    """500 kbit/s, 5 % loss, and a router that queues 40 packets, or 5, where what a keyframe has more is lost."""
    # Without sound: 300 kbit/s of pictures, 5 % of them twice, heads, and 90 of G.711 leave no room for keyframes.
    await join(page, stack, "stream=auto", audio=False)
    await shows(page, MAIN_LINES)
    link.lose(5)
    link.hold_to(500, queue_ms)
    await shows(page, SUB_LINES)
    weak = await watch(page, 2 * WATCHED_S)
    assert weak.heights == {SUB_LINES}, weak
    assert weak.rate > share * RATE, weak
    assert weak.still_s < STANDSTILL_S, weak
    assert weak.buffered_ms < BOUND_MS, weak
    link.mend()
    await shows(page, MAIN_LINES, 90)
