"""Events of one camera by a pull point (ONVIF Core 9.2): subscribe, pull, renew, and subscribe anew."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from xml.etree.ElementTree import Element

from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.onvif.envelope import find, find_all, text_of
from mediasrv.onvif.notifications import KnownStates, parse_notifications
from mediasrv.onvif.session import DeviceSession
from mediasrv.onvif.values import Service

LIFETIME_S: Final = 120.0
"""What we ask for: cameras have few subscriptions to give, and one that we lost must not stay long."""
PULL_S: Final = 30.0
"""How long the camera may think before it says that there is nothing."""
MOST_MESSAGES: Final = 100
_LIFETIMES_S: Final = (10.0, 600.0)
_QUIET_S: Final = 1.0
"""Pause where a camera says at once that there is nothing, instead of thinking."""
_BUSY_S: Final = 0.25
"""Pulls are so far apart at least, whatever a camera has to tell."""
_GOODBYE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """`reference` goes back to the camera with every call: some know their subscriptions by nothing else."""

    url: str
    reference: tuple[Element, ...]
    lifetime_s: float


class EventKeeper(Protocol):
    """Whoever keeps events."""

    def offer(self, events: Sequence[CameraEvent]) -> None:
        """Never waits."""

    async def active(self, camera_id: str) -> Collection[tuple[EventKind, str]]:
        """Kinds and sources that were active when the camera was last heard."""


class PullPoint:
    """Follows one camera's events. What it knows of their states outlives its subscriptions."""

    def __init__(self, camera_id: str, keeper: EventKeeper, clock: Clock) -> None:
        self._camera_id = camera_id
        self._keeper = keeper
        self._clock = clock
        self._known = KnownStates()
        self._recalled = False

    async def follow(self, session: DeviceSession, subscribed: Callable[[], None]) -> None:
        """Delivers events until something fails; `subscribed` is called once they can come. Raises CameraError."""
        if not self._recalled:
            self._known.recall(await self._keeper.active(self._camera_id))
            self._recalled = True
        subscription = await self._subscribe(session)
        subscribed()
        try:
            await self._pull_for_ever(session, subscription)
        finally:
            # Cancelled or failed: the camera need not keep what nobody will ask for.
            with contextlib.suppress(CameraError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await session.call_at(subscription.url, "Unsubscribe", {}, subscription.reference)

    async def _subscribe(self, session: DeviceSession) -> Subscription:
        wish = {"InitialTerminationTime": f"PT{LIFETIME_S:.0f}S"}
        answer = await session.call(Service.EVENTS, "CreatePullPointSubscription", wish)
        url = await session.usable_url(text_of(answer, "SubscriptionReference", "Address"), "http")
        if not url:
            raise CameraError("The camera gives no address to pull events from.", code="onvif_failed")
        parameters = find(answer, "SubscriptionReference", "ReferenceParameters")
        subscription = Subscription(url, tuple(parameters if parameters is not None else ()), parse_lifetime_s(answer))
        with contextlib.suppress(CameraError):  # states as they are now; many cameras tell them unasked
            await session.call_at(url, "SetSynchronizationPoint", {}, subscription.reference)
        return subscription

    async def _pull_for_ever(self, session: DeviceSession, subscription: Subscription) -> None:
        renew_s = subscription.lifetime_s / 2
        renew_at = self._clock.monotonic() + renew_s
        failed_once = False
        while True:
            if self._clock.monotonic() >= renew_at:
                await self._renew(session, subscription)
                renew_at = self._clock.monotonic() + renew_s
            began = self._clock.monotonic()
            try:
                told = await self._pull(session, subscription, min(PULL_S, renew_s / 2))
                failed_once = False
            except CameraError:
                # Some close the connection when there is nothing to tell: only a second time is a failure.
                if failed_once:
                    raise
                failed_once, told = True, 0
            least_s = _BUSY_S if told else _QUIET_S * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
            await asyncio.sleep(max(0.0, began + least_s - self._clock.monotonic()))

    async def _pull(self, session: DeviceSession, subscription: Subscription, wait_s: float) -> int:
        """Delivers what there is; how many notifications that were, known ones and others."""
        wish = {"Timeout": timedelta(seconds=int(wait_s)), "MessageLimit": MOST_MESSAGES}
        answer = await session.call_at(subscription.url, "PullMessages", wish, subscription.reference, wait_s)
        arrived_us = self._clock.wall_us()
        news = [
            CameraEvent(self._camera_id, one.kind, one.source, one.active, one.camera_us, arrived_us)
            for one in parse_notifications(answer)
            if self._known.is_news(one)
        ]
        if news:
            self._keeper.offer(news)
        return sum(1 for _ in find_all(answer, "NotificationMessage"))

    async def _renew(self, session: DeviceSession, subscription: Subscription) -> None:
        """A camera that knows no Renew keeps its subscriptions by pulling, or forgets them, and the pull will tell."""
        wish = {"TerminationTime": f"PT{LIFETIME_S:.0f}S"}
        try:
            await session.call_at(subscription.url, "Renew", wish, subscription.reference)
        except CameraError as error:
            if error.code != "onvif_failed":
                raise


def parse_lifetime_s(answer: Element) -> float:
    """How long a subscription lives, by the camera's own two times; what we asked for where these make no sense."""
    times = [_time(text_of(answer, name)) for name in ("CurrentTime", "TerminationTime")]
    now, end = times
    if now is None or end is None or end <= now:
        return LIFETIME_S
    least_s, most_s = _LIFETIMES_S
    return min(max((end - now).total_seconds(), least_s), most_s)


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
