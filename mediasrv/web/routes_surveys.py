"""/api/v1/surveys: which of these devices can be linked, as what, and why not."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from mediasrv.errors import InvalidRequest, NotFound
from mediasrv.onvif import Target, parse_devices, parse_table, with_login
from mediasrv.security.places import ROOT_PATH
from mediasrv.security.policy import Permission
from mediasrv.security.redaction import redact
from mediasrv.survey.desk import KeptSurvey
from mediasrv.survey.report import build_csv, row_json, survey_json
from mediasrv.web.fields import Fields, format_time, query_int, read_fields
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

_START: Final = frozenset({"addresses", "table", "username", "password", "seconds"})
_MOST_TEXT: Final = 200_000
_MOST_SECONDS: Final = 600.0
_MOST_REVISION: Final = 10**12


def routes(services: Services) -> list[Route]:
    surveys, manage = _Handlers(services), Permission.CAMERA_MANAGE
    one = "/api/v1/surveys/{survey}"
    return [
        Route("GET", "/api/v1/surveys", manage, surveys.list, Scope.SOMEWHERE),
        Route("POST", "/api/v1/surveys", manage, surveys.start, Scope.SOMEWHERE),
        Route("GET", one, manage, surveys.show, Scope.SOMEWHERE),
        Route("GET", f"{one}/report.csv", manage, surveys.table, Scope.SOMEWHERE),
        Route("POST", f"{one}/cancel", manage, surveys.cancel, Scope.SOMEWHERE),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, request: web.Request, access: Access) -> web.StreamResponse:
        kept = [one for one in self._services.surveys_here().list() if _is_theirs(one, access)]
        return web.json_response({"surveys": [_summary(one) for one in kept]})

    async def start(self, request: web.Request, access: Access) -> web.StreamResponse:
        surveys = self._services.surveys_here()
        fields = await read_fields(request, _START)
        targets, seconds = _read_targets(fields), fields.optional_number("seconds", 1, _MOST_SECONDS)
        surveys.check_room()
        # In the log before the first packet leaves: a survey is how one looks around in a network.
        event = access.actor.event("survey.started", _subject(targets), devices=len(targets))
        await self._services.access_log.append(event)
        kept = surveys.start(targets, seconds, access.principal.principal_id)
        return web.json_response(_summary(kept), status=201)

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The rows that changed after `since`, all by default."""
        kept = self._find(request, access)
        since = query_int(request, "since", 0, 0, _MOST_REVISION) or 0
        rows = [row_json(row) for row in kept.survey.rows if not since or row.revision > since]
        return web.json_response(_summary(kept) | {"rows": rows})

    async def table(self, request: web.Request, access: Access) -> web.StreamResponse:
        kept = self._find(request, access)
        name = (format_time(kept.started_us) or "")[:16].replace(":", "")
        headers = {"Content-Disposition": f'attachment; filename="survey-{name}.csv"'}
        text = build_csv(kept.survey.rows)
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)

    async def cancel(self, request: web.Request, access: Access) -> web.StreamResponse:
        kept = self._find(request, access)
        await self._services.access_log.append(access.actor.event("survey.cancelled", kept.survey_id))
        return web.json_response(_summary(await self._services.surveys_here().cancel(kept.survey_id)))

    def _find(self, request: web.Request, access: Access) -> KeptSurvey:
        kept = self._services.surveys_here().get(request.match_info["survey"])
        if not _is_theirs(kept, access):
            raise NotFound("There is no such survey, or it was forgotten.", code="survey_not_found")
        return kept


def _is_theirs(kept: KeptSurvey, access: Access) -> bool:
    """A survey is for who started it, and for whoever manages cameras everywhere."""
    who = access.principal
    return kept.owner_id == who.principal_id or who.may(Permission.CAMERA_MANAGE, ROOT_PATH, access.now_us)


def _read_targets(fields: Fields) -> list[Target]:
    addresses, table = (fields.lines(name, _MOST_TEXT) for name in ("addresses", "table"))
    if bool(addresses.strip()) == bool(table.strip()):
        raise InvalidRequest("One of addresses and table must be given.", code="addresses_invalid")
    targets = parse_table(table) if table.strip() else parse_devices(addresses)
    return with_login(targets, fields.text("username", most=200), fields.text("password", most=200))


def _subject(targets: list[Target]) -> str:
    """The first and the last address: what was looked at, without a list of a thousand."""
    first, last = redact(targets[0].address), redact(targets[-1].address)
    return first if len(targets) == 1 else f"{first} … {last}"


def _summary(kept: KeptSurvey) -> dict[str, Any]:
    """docs/api.md, Survey."""
    return {
        "id": kept.survey_id,
        "state": kept.state.value,
        "started_at": format_time(kept.started_us),
        "ended_at": format_time(kept.ended_us),
        "revision": kept.survey.revision,
        **survey_json(kept.survey),
    }
