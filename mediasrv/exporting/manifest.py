"""What an export says of itself: the manifest, to the byte as docs/format.md, 7.2 has it, and its signature."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mediasrv import __version__
from mediasrv.catalogue.export_queries import CameraClock, CameraFacts
from mediasrv.catalogue.footage_queries import SEAM_US, GapRow
from mediasrv.catalogue.spans import Span, clip, merge, subtract
from mediasrv.clock import from_us
from mediasrv.exporting.collect import Unreadable
from mediasrv.exporting.pieces import MadeFile, Piece, UsedObject
from mediasrv.media.access_unit import StreamName, TrackKind
from mediasrv.reasons import reason
from mediasrv.security.access_log import Head
from mediasrv.verifier import EXPORT_CONTEXT, FORMAT, build_signature

UNKNOWN_GAP: Final = "no_footage"
UNREADABLE_GAP: Final = "footage_refused"

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for, by whom and why. Times are wall time in microseconds."""

    camera_ids: tuple[str, ...]
    stream: StreamName
    span: Span
    purpose: str
    principal_id: str
    username: str
    remote: str


@dataclass(frozen=True, slots=True)
class Logged:
    """The entry of the access log that says so, and the log's head signed at that entry (docs/format.md, 4)."""

    head: Head
    signed: bytes


@dataclass(frozen=True, slots=True)
class Missing:
    """A span without footage in the export, with its cause: a code of docs/reasons.md."""

    span: Span
    cause: str


@dataclass(frozen=True, slots=True)
class CameraPart:
    """All of one camera."""

    facts: CameraFacts
    pieces: Sequence[Piece]
    missing: Sequence[Missing]
    unreadable: Sequence[Unreadable]
    clocks: Mapping[str, CameraClock]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the manifest and the note tell."""

    export_id: str
    wish: Wish
    requested_us: int
    made_us: int
    node_id: str
    public_key: bytes
    node_keys: Mapping[str, bytes]
    logged: Logged
    local_offset_min: int
    cameras: Sequence[CameraPart]

    @property
    def files(self) -> list[MadeFile]:
        return [piece.file for part in self.cameras for piece in part.pieces]


def find_missing(
    within: Span, pieces: Sequence[Piece], unreadable: Sequence[Unreadable], gaps: Sequence[GapRow]
) -> list[Missing]:
    """What of the span no piece has, each stretch with the cause that the catalogue knows.

    Where it knows none the stretch is named all the same: an export never leaves out a hole in silence.
    """
    covered = merge((piece.span for piece in pieces), SEAM_US)
    known = [Missing(one.span, UNREADABLE_GAP) for one in unreadable]
    known += [Missing(Span(row.started_us, row.ended_us or within.end_us), row.cause) for row in gaps]
    left, found = subtract([within], covered), []
    for one in known:
        spans = [span for hole in left for span in clip([one.span], hole)]
        found += [Missing(span, one.cause) for span in spans]
        left = subtract(left, spans)
    found += [Missing(span, UNKNOWN_GAP) for span in left if span.end_us - span.start_us > SEAM_US]
    return sorted(found, key=lambda one: one.span)


def build_manifest(report: Report, files: Sequence[MadeFile]) -> bytes:
    """`files` are all but the manifest and its signature."""
    wish, head = report.wish, report.logged.head
    document = {
        "format": FORMAT,
        "export_id": report.export_id,
        "software": {"name": "mediasrv", "version": __version__},
        "node": {"node_id": report.node_id, "public_key": report.public_key.hex()},
        "requested_at": iso(report.requested_us),
        "made_at": iso(report.made_us),
        "requested_by": {"principal_id": wish.principal_id, "username": wish.username, "remote": wish.remote},
        "purpose": wish.purpose,
        "stream": str(wish.stream),
        "span": _span(wish.span),
        "local_offset_min": report.local_offset_min,
        "access_log": {
            "entry": head.entry,
            "entry_hash": head.entry_hash.hex(),
            "head": json.loads(report.logged.signed),
        },
        "cameras": [_camera(report, part) for part in report.cameras],
        "files": [{"name": one.name, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in files],
    }
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def sign_manifest(report: Report, manifest: bytes, sign: Sign) -> bytes:
    return build_signature(report.node_id, report.public_key, sign(EXPORT_CONTEXT + manifest))


def iso(at_us: int) -> str:
    """UTC to the microsecond."""
    return from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _camera(report: Report, part: CameraPart) -> dict[str, Any]:
    return {
        "camera_id": part.facts.camera_id,
        "name": part.facts.name,
        "places": list(part.facts.places),
        "pieces": [_piece(report, piece, part.clocks.get(piece.session_id)) for piece in part.pieces],
        "gaps": list(_gaps(part.missing)),
        "unreadable": [
            {
                "object_id": one.object_id,
                "object_key": one.object_key,
                **_span(one.span),
                "code": one.code,
                "sentence": one.sentence,
            }
            for one in part.unreadable
        ],
    }


def _gaps(missing: Sequence[Missing]) -> Iterator[dict[str, Any]]:
    for one in missing:
        why = reason(one.cause)
        yield {**_span(one.span), "cause": one.cause, "sentence": why.sentence, "sentence_vi": why.sentence_vi}


def _piece(report: Report, piece: Piece, clock: CameraClock | None) -> dict[str, Any]:
    video, audio = piece.video, piece.audio
    return {
        "file": piece.file.name,
        **_span(piece.span),
        "session_id": piece.session_id,
        "video": {
            "codec": str(video.codec),
            "width": video.width,
            "height": video.height,
            "access_units": piece.access_units[TrackKind.VIDEO],
        },
        "audio": None
        if audio is None
        else {
            "codec": str(audio.codec),
            "clock_rate": audio.clock_rate,
            "channels": audio.channels,
            "access_units": piece.access_units[TrackKind.AUDIO],
        },
        "camera_clock": None
        if clock is None or clock.offset_us is None
        else {"offset_us": clock.offset_us, "uncertainty_us": clock.uncertainty_us},
        "objects": [_object(report, one) for one in piece.objects],
    }


def _object(report: Report, used: UsedObject) -> dict[str, Any]:
    header, signer = used.header, report.node_keys.get(used.header.node_id)
    return {
        "object_id": header.object_id,
        "object_key": used.object_key,
        "version_id": used.version_id,
        "node_id": header.node_id,
        "node_public_key": None if signer is None else signer.hex(),
        "started_at": iso(header.started_us),
        "ended": None if used.ended is None else used.ended.name.lower(),
        "first_part": used.first,
        "last_part": used.last,
        "footer_sha256": used.footer_sha256.hex() or None,
        "footer_signature": used.signature.hex() or None,
    }


def _span(span: Span) -> dict[str, str]:
    return {"start": iso(span.start_us), "end": iso(span.end_us)}
