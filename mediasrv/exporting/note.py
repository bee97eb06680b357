"""The note of an export, for somebody who has never heard of this program: one printable page without scripts.

Everything that comes from outside is escaped; the page loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta, timezone
from html import escape
from typing import Final

from mediasrv import __version__
from mediasrv.catalogue.export_queries import CameraClock
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US, from_us
from mediasrv.exporting.manifest import CameraPart, Missing, Report
from mediasrv.exporting.pieces import Piece
from mediasrv.media.access_unit import Codec, TrackKind
from mediasrv.reasons import reason

LANGUAGES: Final = ("vi", "en")

_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "title": "Note on exported video",
        "intro": "This package holds video as the cameras sent it: copied, not edited, not re-encoded.",
        "what": "What was exported",
        "export_id": "Export number",
        "purpose": "Purpose",
        "by": "Exported by",
        "from": "from address",
        "requested": "Asked for at",
        "made": "Finished at",
        "span": "Span that was asked for",
        "cameras": "Cameras",
        "stream": "Stream",
        "stream_main": "main stream",
        "stream_sub": "substream (smaller picture)",
        "entry": "Entry in the access log",
        "entry_text": "number {entry}, hash {hash}",
        "camera": "Camera",
        "place": "Place",
        "files": "Video files",
        "file": "File",
        "times": "From &ndash; to (local time)",
        "picture": "Picture and sound",
        "no_sound": "no sound",
        "pictures": "{count} pictures",
        "clock": "Camera clock",
        "clock_unknown": "The camera never told its own time while this was recorded.",
        "clock_ahead": "The camera's own clock was {offset} ahead of the server's, give or take {uncertainty}.",
        "clock_behind": "The camera's own clock was {offset} behind the server's, give or take {uncertainty}.",
        "clock_same": "The camera's own clock agreed with the server's to within {uncertainty}.",
        "gaps": "Missing video",
        "no_gaps": "Nothing is missing from the span that was asked for.",
        "gaps_intro": "For these times there is no video in this package:",
        "duration": "Duration",
        "cause": "Why",
        "nothing": "There is no video of this camera in the span.",
        "time": "How the times are meant",
        "time_text": "All times are those at which the video reached the server, by the server's clock. Local time is "
        "UTC{offset}; UTC stands in brackets. Each file begins at a picture that is complete in itself, so it may "
        "begin a few seconds before the time that was asked for. A new file begins after every break and whenever the "
        "camera changed its picture.",
        "proof": "How to verify this package",
        "proof_1": "Each file has a checksum (SHA-256), below. All of them stand in manifest.json, which the server "
        "signed with its own key (manifest.sig). If a single bit of any file is changed, verification "
        "fails and says where.",
        "proof_2": "Ask the operator of the server for the fingerprint of its key, by a way other than this package, "
        "and compare it with:",
        "proof_3": "Then run, on any computer with mediasrv installed, without a network:",
        "proof_4": "It prints VERIFIED where everything is as it was signed. Without --trust it can only say that the "
        "package agrees with itself. How to verify without this program is described in its documentation: "
        "docs/format.md, section 7.",
        "node": "Server (node)",
        "fingerprint": "Fingerprint of its key",
        "hashes": "Checksums (SHA-256)",
        "footer": "Made by mediasrv {version}.",
    },
    "vi": {
        "title": "Thuyết minh về video được trích xuất",
        "intro": "Gói này chứa video đúng như camera đã gửi: được sao chép nguyên vẹn, không chỉnh sửa, "
        "không mã hóa lại hình.",
        "what": "Nội dung trích xuất",
        "export_id": "Số hiệu gói trích xuất",
        "purpose": "Mục đích",
        "by": "Người trích xuất",
        "from": "từ địa chỉ",
        "requested": "Yêu cầu lúc",
        "made": "Hoàn thành lúc",
        "span": "Khoảng thời gian yêu cầu",
        "cameras": "Camera",
        "stream": "Luồng hình",
        "stream_main": "luồng chính",
        "stream_sub": "luồng phụ (hình nhỏ hơn)",
        "entry": "Mục trong nhật ký truy cập",
        "entry_text": "số {entry}, mã băm {hash}",
        "camera": "Camera",
        "place": "Địa điểm",
        "files": "Các tệp video",
        "file": "Tệp",
        "times": "Từ &ndash; đến (giờ địa phương)",
        "picture": "Hình và tiếng",
        "no_sound": "không có tiếng",
        "pictures": "{count} hình",
        "clock": "Đồng hồ camera",
        "clock_unknown": "Camera không cho biết giờ của nó trong lúc ghi hình.",
        "clock_ahead": "Đồng hồ của camera nhanh hơn đồng hồ máy chủ {offset}, sai số {uncertainty}.",
        "clock_behind": "Đồng hồ của camera chậm hơn đồng hồ máy chủ {offset}, sai số {uncertainty}.",
        "clock_same": "Đồng hồ của camera khớp với đồng hồ máy chủ, sai số {uncertainty}.",
        "gaps": "Phần video bị thiếu",
        "no_gaps": "Không thiếu đoạn nào trong khoảng thời gian yêu cầu.",
        "gaps_intro": "Gói này không có video của những khoảng thời gian sau:",
        "duration": "Thời lượng",
        "cause": "Lý do",
        "nothing": "Không có video của camera này trong khoảng thời gian yêu cầu.",
        "time": "Cách hiểu các mốc thời gian",
        "time_text": "Mọi mốc thời gian là lúc video đến máy chủ, theo đồng hồ máy chủ. Giờ địa phương là UTC{offset}; "
        "giờ UTC ghi trong ngoặc. Mỗi tệp bắt đầu ở một hình hoàn chỉnh nên có thể bắt đầu sớm hơn thời điểm yêu cầu "
        "vài giây. Sau mỗi lần gián đoạn, hoặc khi camera đổi định dạng hình, video tiếp tục trong một tệp mới.",
        "proof": "Cách kiểm chứng gói này",
        "proof_1": "Mỗi tệp có một mã kiểm tra (SHA-256) ghi bên dưới. Tất cả nằm trong manifest.json, được máy chủ ký "
        "bằng khóa riêng của nó (manifest.sig). Chỉ cần một bit trong bất kỳ tệp nào bị thay đổi, "
        "việc kiểm chứng sẽ thất bại và chỉ rõ tệp đó.",
        "proof_2": "Hãy hỏi đơn vị vận hành máy chủ dấu vân tay khóa của máy chủ, bằng một đường khác với gói này, "
        "rồi đối chiếu với:",
        "proof_3": "Sau đó chạy lệnh sau trên một máy tính bất kỳ có cài mediasrv, không cần mạng:",
        "proof_4": "Lệnh in ra VERIFIED nếu mọi thứ đúng như đã ký. Không có --trust, lệnh chỉ cho biết gói này tự nó "
        "nhất quán. Cách kiểm chứng không dùng phần mềm này có trong tài liệu của nó: docs/format.md, mục 7.",
        "node": "Máy chủ (nút)",
        "fingerprint": "Dấu vân tay khóa của máy chủ",
        "hashes": "Mã kiểm tra (SHA-256)",
        "footer": "Tạo bởi mediasrv {version}.",
    },
}

_CODECS: Final = {
    Codec.H264: "H.264",
    Codec.H265: "H.265",
    Codec.AAC: "AAC",
    Codec.OPUS: "Opus",
    Codec.PCMA: "G.711 A-law",
    Codec.PCMU: "G.711 µ-law",
}

_STYLE: Final = """
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans",sans-serif;color:#111;background:#fff;max-width:52rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid #888}
h3{font-size:1rem;margin:1.2rem 0 .3rem}table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{border:1px solid #888;padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#eee;font-weight:600}table.facts th{width:12rem}code,pre{font-family:ui-monospace,Consolas,monospace}
code{font-size:.85em;overflow-wrap:anywhere}pre{background:#eee;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}
.utc{color:#444;font-size:.85em}.utc,.whole,th[scope=col]{white-space:nowrap}.scroll{overflow-x:auto}footer{margin-top:2rem;color:#444}
@media print{body{margin:0;max-width:none;font-size:11pt}h2{break-after:avoid}tr{break-inside:avoid}}
"""


def build_note(report: Report, language: str) -> bytes:
    """A whole HTML document in `language`, one of LANGUAGES."""
    return _Note(report, language).build().encode()


class _Note:
    def __init__(self, report: Report, language: str) -> None:
        self._report = report
        self._language = language
        self._texts = _TEXTS[language]
        self._zone = timezone(timedelta(minutes=report.local_offset_min))

    def build(self) -> str:
        t = self._texts
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        body = [
            f"<h1>{t['title']}</h1><p>{t['intro']}</p>",
            *self._what(),
            *(line for part in self._report.cameras for line in self._camera(part)),
            f"<h2>{t['time']}</h2><p>{t['time_text'].format(offset=self._offset())}</p>",
            *self._proof(),
            f"<footer>{t['footer'].format(version=escape(__version__))}</footer>",
        ]
        return (
            f'<!doctype html>\n<html lang="{self._language}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f'<meta name="viewport" content="width=device-width"><title>{t["title"]}</title>'
            f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
        )

    def _what(self) -> Iterator[str]:
        t, wish = self._texts, self._report.wish
        head = self._report.logged.head
        names = ", ".join(part.facts.name for part in self._report.cameras)
        entry = t["entry_text"].format(entry=head.entry, hash=f"<code>{head.entry_hash.hex()}</code>")
        yield f"<h2>{t['what']}</h2>"
        yield _facts(
            (t["purpose"], escape(wish.purpose)),
            (t["by"], f"{escape(wish.username)}, {t['from']} {escape(wish.remote)}"),
            (t["cameras"], escape(names)),
            (t["stream"], t[f"stream_{wish.stream}"]),
            (t["span"], self._span(wish.span)),
            (t["requested"], self._time(self._report.requested_us)),
            (t["made"], self._time(self._report.made_us)),
            (t["export_id"], f"<code>{escape(self._report.export_id)}</code>"),
            (t["entry"], entry),
        )

    def _camera(self, part: CameraPart) -> Iterator[str]:
        t = self._texts
        yield f"<h2>{t['camera']}: {escape(part.facts.name)}</h2>"
        yield _facts(
            (t["place"], " &rsaquo; ".join(map(escape, part.facts.places))),
            (t["camera"], f"<code>{escape(part.facts.camera_id)}</code>"),
            (t["clock"], "<br>".join(dict.fromkeys(self._clocks(part))) or t["clock_unknown"]),
        )
        yield f"<h3>{t['files']}</h3>"
        if not part.pieces:
            yield f"<p>{t['nothing']}</p>"
        else:
            rows = (
                [f"<code>{escape(one.file.name)}</code>", self._span(one.span), self._picture(one)]
                for one in part.pieces
            )
            yield _table([t["file"], t["times"], t["picture"]], rows)
        yield f"<h3>{t['gaps']}</h3>"
        if not part.missing:
            yield f"<p>{t['no_gaps']}</p>"
        else:
            yield f"<p>{t['gaps_intro']}</p>"
            gaps = ([self._span(one.span), self._length(one.span), self._cause(one)] for one in part.missing)
            yield _table([t["times"], t["duration"], t["cause"]], gaps)

    def _proof(self) -> Iterator[str]:
        t, key = self._texts, self._report.public_key.hex()
        groups = " ".join(key[at : at + 4] for at in range(0, len(key), 4))
        yield f"<h2>{t['proof']}</h2><p>{t['proof_1']}</p><p>{t['proof_2']}</p><pre>{groups}</pre><p>{t['proof_3']}</p>"
        yield f"<pre>mediasrv verify EXPORT.zip --trust {key}</pre><p>{t['proof_4']}</p>"
        yield _facts((t["node"], escape(self._report.node_id)), (t["fingerprint"], f"<code>{key}</code>"))
        yield f"<h3>{t['hashes']}</h3>"
        rows = ([f"<code>{escape(one.name)}</code>", f"<code>{one.sha256}</code>"] for one in self._report.files)
        yield _table([t["file"], "SHA-256"], rows)

    def _clocks(self, part: CameraPart) -> Iterator[str]:
        for piece in part.pieces:
            yield self._clock(part.clocks.get(piece.session_id))

    def _clock(self, clock: CameraClock | None) -> str:
        t = self._texts
        if clock is None or clock.offset_us is None:
            return t["clock_unknown"]
        uncertainty_us = clock.uncertainty_us or 0
        kind = "same" if abs(clock.offset_us) <= uncertainty_us else "ahead" if clock.offset_us > 0 else "behind"
        return t[f"clock_{kind}"].format(
            offset=self._seconds(abs(clock.offset_us)), uncertainty=self._seconds(uncertainty_us)
        )

    def _picture(self, piece: Piece) -> str:
        t, video = self._texts, piece.video
        sound = t["no_sound"] if piece.audio is None else _CODECS[piece.audio.codec]
        count = t["pictures"].format(count=piece.access_units[TrackKind.VIDEO])
        return f"{_CODECS[video.codec]}, {video.width}&times;{video.height}, {count}, {sound}"

    def _cause(self, missing: Missing) -> str:
        why = reason(missing.cause)
        return escape(why.sentence_vi if self._language == "vi" else why.sentence)

    def _time(self, at_us: int) -> str:
        at, local = from_us(at_us), from_us(at_us).astimezone(self._zone)
        day = "%d/%m/%Y" if self._language == "vi" else "%Y-%m-%d"
        shown = f"{local.strftime(day + ' %H:%M:%S')}.{local.microsecond // 1000:03}"
        return f'{shown} <span class="utc">({at.strftime("%Y-%m-%d %H:%M:%S")}.{at.microsecond // 1000:03} UTC)</span>'

    def _span(self, span: Span) -> str:
        return f"{self._time(span.start_us)} &ndash;<br>{self._time(span.end_us)}"

    def _length(self, span: Span) -> str:
        whole, rest = divmod(span.end_us - span.start_us, SECOND_US)
        hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
        return f'<span class="whole">{hours}:{minutes:02}:{seconds:02}.{rest // 1000:03}</span>'

    def _seconds(self, length_us: int) -> str:
        number = f"{length_us / SECOND_US:.3f}"
        return f"{number.replace('.', ',')} giây" if self._language == "vi" else f"{number} s"

    def _offset(self) -> str:
        minutes = self._report.local_offset_min
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _facts(*rows: tuple[str, str]) -> str:
    """`rows` are HTML already."""
    lines = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in rows)
    return f'<table class="facts">{lines}</table>'


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'
