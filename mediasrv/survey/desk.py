"""The surveys of a running server: a few at a time, their results kept in memory for a while, never credentials."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import NotFound, TooManyRequests, Unavailable
from mediasrv.settings import SurveySettings
from mediasrv.survey.findings import Target
from mediasrv.survey.runner import Survey, SurveyDrivers
from mediasrv.survey.verdict import Limits
from mediasrv.waiting import Turns

log = logging.getLogger(__name__)

MOST_KEPT: Final = 20
_RETRY_AFTER_S: Final = 30


class SurveyState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(slots=True)
class KeptSurvey:
    """A survey and whose it is. Times are server wall time in microseconds."""

    survey_id: str
    owner_id: str
    survey: Survey
    started_us: int
    state: SurveyState = SurveyState.RUNNING
    ended_us: int | None = None
    ended_at: float = 0.0
    task: asyncio.Task[None] | None = None


class SurveyDesk:
    """Starts surveys, and forgets them `keep_s` after they ended. Runs as long as `run` does."""

    def __init__(self, drivers: SurveyDrivers, limits: Limits, clock: Clock, settings: SurveySettings) -> None:
        self._drivers = drivers
        self._limits = limits
        self._clock = clock
        self._settings = settings
        self._turns = Turns(settings.streams_at_once, most_a_key=1)
        self._kept: dict[str, KeptSurvey] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; so are its surveys then."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def check_room(self) -> None:
        """Raises TooManyRequests (`surveys_full`) while as many surveys run as may."""
        running = [kept for kept in self._kept.values() if kept.state is SurveyState.RUNNING]
        if len(running) >= self._settings.surveys_at_once:
            raise TooManyRequests(
                f"{len(running)} surveys are running: wait for one to end, or cancel it.",
                code="surveys_full",
                retry_after_s=_RETRY_AFTER_S,
            )

    def start(self, targets: Sequence[Target], seconds: float | None, owner_id: str) -> KeptSurvey:
        """Raises TooManyRequests as `check_room` does, and Unavailable while the server stops or starts."""
        self.check_room()
        if self._group is None:
            raise Unavailable("Surveys are not ready yet.", code="survey_not_here")
        survey = Survey(
            targets,
            seconds or self._settings.measure_s,
            self._drivers,
            self._limits,
            self._clock,
            self._settings,
            self._turns,
        )
        kept = KeptSurvey(secrets.token_hex(8), owner_id, survey, self._clock.wall_us())
        self._forget_old()
        self._kept[kept.survey_id] = kept
        kept.task = self._group.create_task(self._run(kept), name=f"survey {kept.survey_id}")
        return kept

    def list(self) -> Sequence[KeptSurvey]:
        """The newest first."""
        self._forget_old()
        return list(self._kept.values())[::-1]

    def get(self, survey_id: str) -> KeptSurvey:
        """Raises NotFound."""
        self._forget_old()
        kept = self._kept.get(survey_id)
        if kept is None:
            raise NotFound("There is no such survey, or it was forgotten.", code="survey_not_found")
        return kept

    async def cancel(self, survey_id: str) -> KeptSurvey:
        """Returns once every camera was left; a survey that has ended stays as it is."""
        kept = self.get(survey_id)
        if kept.task is not None and not kept.task.done():
            kept.task.cancel()
            await asyncio.wait({kept.task})
        return kept

    async def _run(self, kept: KeptSurvey) -> None:
        state = SurveyState.FAILED
        try:
            await kept.survey.run()
            state = SurveyState.DONE
        except asyncio.CancelledError:
            state = SurveyState.CANCELLED
            raise
        except Exception:
            log.exception("survey %s failed", kept.survey_id)
        finally:
            kept.state, kept.ended_us, kept.ended_at = state, self._clock.wall_us(), self._clock.monotonic()

    def _forget_old(self) -> None:
        ended = [kept for kept in self._kept.values() if kept.state is not SurveyState.RUNNING]
        oldest_first = sorted(ended, key=lambda kept: kept.ended_at)
        too_many = len(self._kept) - MOST_KEPT
        for number, kept in enumerate(oldest_first):
            if number < too_many or self._clock.monotonic() - kept.ended_at > self._settings.keep_s:
                del self._kept[kept.survey_id]
