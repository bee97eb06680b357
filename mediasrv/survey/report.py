"""What a survey found, as JSON, as a CSV table, and as lines for a terminal. Pure; holds no credentials."""

from __future__ import annotations

import csv
import dataclasses
import io
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from mediasrv.reasons import Reason, reason
from mediasrv.survey.findings import DeviceReading, Findings, StreamFindings
from mediasrv.survey.runner import Row, Survey
from mediasrv.survey.verdict import Verdict, credentials_state, is_reachable

CSV_COLUMNS: Final = (
    "address", "name", "place", "site", "verdict", "code", "sentence", "sentence_vi", "remarks", "reachable", "onvif",
    "credentials", "manufacturer", "model", "firmware", "stream", "profile", "codec", "width", "height", "rate",
    "bitrate_kbps", "keyframe_interval_s", "audio", "transport", "packets", "lost_packets", "measured_s",
    "clock_offset_s",
)  # fmt: skip
_NO_READING: Final = DeviceReading(None)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_WORDS: Final = {
    "en": ("eligible", "substream only", "not eligible"),
    "vi": ("dùng được", "chỉ luồng phụ", "không dùng được"),
}
HEADINGS: Final = {
    "en": ("address", "verdict", "picture", "kbit/s", "keyframe", "lost", "clock", "why"),
    "vi": ("địa chỉ", "kết luận", "hình", "kbit/s", "khung khóa", "mất gói", "đồng hồ", "lý do"),
}
_CERTAIN_S: Final = 0.2
_WIDTHS: Final = (26, 16, 15, 7, 10, 8, 9)


# --- JSON ---------------------------------------------------------------------------------------------


def survey_json(survey: Survey) -> dict[str, Any]:
    """How far a survey is: docs/api.md, Survey."""
    return {
        "seconds": survey.seconds,
        "devices": len(survey.rows),
        "done": survey.done,
        **{verdict.value: survey.count(verdict) for verdict in Verdict},
    }


def row_json(row: Row) -> dict[str, Any]:
    """docs/api.md, SurveyRow."""
    found, judgement = row.findings, row.judgement
    device, clock = found.reading or _NO_READING, found.clock
    return {
        "row": row.number,
        "address": row.address,
        "name": row.name,
        "place": row.place,
        "site": row.site,
        "state": row.state.value,
        "verdict": judgement and judgement.verdict.value,
        "reason": _reason_json(reason_of(row)),
        "remarks": [_reason_json(reason(code)) for code in judgement.remarks] if judgement else [],
        "reachable": is_reachable(found),
        "onvif": found.onvif,
        "credentials": credentials_state(found),
        "manufacturer": device.manufacturer,
        "model": device.model,
        "firmware": device.firmware,
        "clock": clock and {"offset_s": clock.offset_s, "uncertainty_s": clock.uncertainty_s},
        "streams": {"main": _stream_json(_main_of(found)), "sub": _stream_json(_sub_of(found))},
    }


def reason_of(row: Row) -> Reason | None:
    """Why the row has its verdict."""
    return reason(row.judgement.code, row.judgement.sentence or None) if row.judgement else None


def _main_of(found: Findings) -> StreamFindings | None:
    declared = found.reading.main if found.reading else None
    return found.main or (StreamFindings(declared) if declared else None)


def _sub_of(found: Findings) -> StreamFindings | None:
    declared = found.reading.sub if found.reading else None
    return found.sub or (StreamFindings(declared) if declared else None)


def _reason_json(why: Reason | None) -> dict[str, str] | None:
    return None if why is None else dataclasses.asdict(why)


def _stream_json(stream: StreamFindings | None) -> dict[str, Any] | None:
    """What was measured; `measured_s` 0: what the camera declares."""
    if stream is None:
        return None
    declared, measured, failure = stream.profile, stream.measured, stream.failure
    if measured is None:
        shown = (declared.codec, declared.width, declared.height, declared.rate, declared.bitrate_kbps)
    else:
        size = (measured.width, measured.height) if measured.width else (declared.width, declared.height)
        shown = (measured.codec or declared.codec, *size, measured.rate, measured.bitrate_kbps)
    return {
        "profile": declared.name,
        **dict(zip(("codec", "width", "height", "rate", "bitrate_kbps"), shown, strict=True)),
        "keyframe_interval_s": stream.keyframe_interval_s,
        "audio": measured.audio if measured else declared.audio,
        "transport": measured.transport if measured else "",
        "packets": measured.packets if measured else 0,
        "lost_packets": measured.lost_packets if measured else 0,
        "measured_s": measured.seconds if measured else 0,
        "reason": failure and _reason_json(reason(failure.code, failure.sentence or None)),
    }


# --- CSV ----------------------------------------------------------------------------------------------


def build_csv(rows: Sequence[Row]) -> str:
    """A table with CSV_COLUMNS, a line a device, for a spreadsheet; its stream is the one that the verdict is about."""
    out = io.StringIO()
    out.write("\ufeff")  # spreadsheets take the table for UTF-8 by this alone
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        writer.writerow([_cell(value) for value in _csv_values(row)])
    return out.getvalue()


def _csv_values(row: Row) -> list[Any]:
    shown = row_json(row)
    why, clock, name = shown["reason"] or {}, shown["clock"], _shown_stream(row)
    stream = dict(shown["streams"][name] or {})
    remarks = " ".join(remark["code"] for remark in shown["remarks"])
    values = shown | stream | {key: why.get(key, "") for key in ("code", "sentence", "sentence_vi")}
    values |= {"stream": name if stream else "", "remarks": remarks, "clock_offset_s": clock and clock["offset_s"]}
    return [values.get(column) for column in CSV_COLUMNS]


def _shown_stream(row: Row) -> str:
    return "sub" if row.judgement is not None and row.judgement.verdict is Verdict.SUBSTREAM_ONLY else "main"


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a quote before it: cameras choose their own names."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


# --- a terminal ---------------------------------------------------------------------------------------


def heading_line(language: str) -> str:
    return _line(HEADINGS[language][:-1], HEADINGS[language][-1])


def row_line(row: Row, language: str) -> str:
    """One device as one line, its verdict first, its sentence last."""
    shown, why = row_json(row), reason_of(row)
    verdict = _WORDS[language][list(Verdict).index(row.judgement.verdict)] if row.judgement else "-"
    stream, clock = shown["streams"][_shown_stream(row)], shown["clock"]
    cells = [row.address, verdict, *_stream_cells(stream), _offset_cell(clock)]
    sentence = (why.sentence_vi if language == "vi" else why.sentence) if why else ""
    remarks = [one for one in shown["remarks"] if why is None or one["code"] != why.code]
    also = [one["sentence_vi" if language == "vi" else "sentence"] for one in remarks]
    return _line(cells, " ".join([f"{sentence} [{why.code}]" if why else "", *also]).strip())


def _offset_cell(clock: dict[str, float] | None) -> str:
    """Whole seconds, cut off, where no more is known for certain."""
    if clock is None:
        return "-"
    return f"{int(clock['offset_s'])} s" if clock["uncertainty_s"] > _CERTAIN_S else f"{clock['offset_s']:.1f} s"


def _stream_cells(stream: dict[str, Any] | None) -> list[str]:
    if stream is None:
        return ["-"] * 4
    interval = stream["keyframe_interval_s"]
    picture = f"{stream['codec']} {stream['width']}x{stream['height']}" if stream["codec"] else "-"
    known = stream["packets"] + stream["lost_packets"]
    lost = f"{100 * stream['lost_packets'] / known:.2f} %" if known else "-"
    return [picture, str(stream["bitrate_kbps"] or "-"), f"{interval:.1f} s" if interval is not None else "-", lost]


def summary_line(survey: Survey, language: str) -> str:
    eligible, sub_only, refused = (survey.count(verdict) for verdict in Verdict)
    words = _WORDS[language]
    return f"{survey.done}/{len(survey.rows)}: {eligible} {words[0]}, {sub_only} {words[1]}, {refused} {words[2]}"


def _line(cells: Sequence[str], last: str) -> str:
    return "  ".join([*(_padded(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True)), last]).rstrip()


def _padded(text: str, width: int) -> str:
    text = unicodedata.normalize("NFC", text)
    return text + " " * (width - len(text))
