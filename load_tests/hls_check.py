"""`python -m load_tests hls_check URL --seconds 20 --json`: whether a live server keeps the rules of HLS.

Follows every track of a multivariant playlist as a player does, holds each playlist against the rules (`hls_rules`)
and against the one before, fetches all that is listed, reads the media, and fetches it again later: a URL never means
two things. `--token` is a Bearer token, `--cookie` a cookie; a URL under a path token needs neither.

It ends with 1 where a rule is broken; the last line of JSON lists which.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import re
import ssl
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp

from load_tests.hls_rules import (
    MediaPlaylist,
    SegmentLine,
    attributes,
    check,
    check_hint_came,
    check_next,
    merge,
    parse,
)
from load_tests.measure import percentile, print_json
from mediasrv.media.fmp4 import ReadSample, read_format, read_samples

REQUEST_S: Final = 15.0
AGAIN_S: Final = 3.0
_MSN: Final = re.compile(r"/(\d+)\.(\d+)\.m4s$")
_FAR_AHEAD: Final = 50


@dataclass(slots=True)
class Answer:
    """`body` is what it means, not what was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Findings:
    """What was looked at, and what was wrong."""

    broken: list[str] = field(default_factory=list)
    playlists: int = 0
    deltas: int = 0
    parts: int = 0
    segments: int = 0
    gaps: int = 0
    discontinuities: int = 0
    fetched_again: int = 0
    behind_live_s: list[float] = field(default_factory=list)

    def expect(self, right: bool, what: str) -> None:
        if not right and what not in self.broken:
            self.broken.append(what)

    def run(self, where: str, rule: Callable[..., object], *values: object) -> None:
        try:
            rule(*values)
        except AssertionError as error:
            lines = str(error).splitlines() or [str(traceback.extract_tb(error.__traceback__)[-1].line)]
            self.expect(False, f"{where}: {rule.__name__}: {lines[0]}")


class Player:
    """Asks, and keeps what URLs meant."""

    def __init__(self, http: aiohttp.ClientSession, headers: Mapping[str, str], findings: Findings) -> None:
        self._http = http
        self._headers = headers
        self.findings = findings
        self._known: dict[str, bytes] = {}

    async def ask(self, url: str, **query: object) -> Answer:
        """Appends `query` to what the URL has of one already."""
        joined = f"{url}{'&' if '?' in url else '?'}{urlencode(query)}" if query else url
        async with self._http.get(joined, headers=self._headers) as response:
            body = await response.read()
            if response.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            return Answer(response.status, response.headers, body)

    async def media(self, url: str) -> bytes | None:
        """The body of a part, a segment or an init segment, which must be there and what it was before."""
        answer = await self.ask(url)
        name = _shown(url)
        self.findings.expect(answer.status == 200, f"{name}: {answer.status} for media that a playlist lists")
        if answer.status != 200:
            return None
        content_type = answer.headers.get("Content-Type", "")
        self.findings.expect(content_type in ("video/mp4", "audio/mp4"), f"media is of type {content_type}")
        digest = hashlib.sha256(answer.body).digest()
        self.findings.fetched_again += url in self._known
        self.findings.expect(self._known.setdefault(url, digest) == digest, f"{name}: the URL means something else now")
        return answer.body

    @property
    def urls(self) -> list[str]:
        return list(self._known)


class Follower:
    """Follows one media playlist, and holds it against the one before."""

    def __init__(self, player: Player, url: str) -> None:
        self._player = player
        self._url = url
        self._name = urlsplit(url).path.rpartition("/")[2]
        self._findings = player.findings
        self.current: MediaPlaylist | None = None
        self._seen: set[str] = set()
        self._parts: dict[str, bytes] = {}

    async def run(self, until: float) -> None:
        answer = await self._player.ask(self._url)
        if answer.status != 200:
            self._findings.expect(False, f"{self._name}: {answer.status}: {answer.body[:200]!r}")
            return
        self._take(self._read(answer))
        await self._fetch_new()
        round_trip = 0
        while time.monotonic() < until and self.current is not None:
            round_trip += 1
            await (self._reload(skip=round_trip % 2 == 0) if self.current.low_latency else self._poll())
            await self._fetch_new()

    async def _reload(self, *, skip: bool) -> None:
        """A blocking reload (6.2.5.2) for the part that was hinted at, in full or as a delta update (6.2.5.1)."""
        before = self.current
        assert before is not None
        hinted = _MSN.search(before.hint)
        assert hinted is not None, before.hint
        msn, part = int(hinted[1]), int(hinted[2])
        more = {"_HLS_skip": "YES"} if skip and "CAN-SKIP-UNTIL" in before.control else {}
        answer = await self._player.ask(self._url, _HLS_msn=msn, _HLS_part=part, **more)
        if answer.status == 503:
            return  # nothing came for so long: the next question may have more luck
        if answer.status != 200:
            self._findings.expect(False, f"{self._name}: {answer.status} for the part that was hinted at")
            return
        after = self._take(self._read(answer))
        if after is None:
            return
        newest = after.first_msn + len(after.segments) - 1
        reached = newest > msn or (newest == msn and len(after.segments[-1].parts) > part)
        self._findings.expect(reached, f"{self._name}: a blocking reload was answered before its part was there")

    async def _poll(self) -> None:
        await asyncio.sleep(self.current.target_s / 2 if self.current else 1.0)
        self._take(self._read(await self._player.ask(self._url)))

    def _read(self, answer: Answer) -> MediaPlaylist:
        content_type = answer.headers.get("Content-Type", "").partition(";")[0]
        self._findings.expect(content_type == "application/vnd.apple.mpegurl", f"a playlist is of type {content_type}")
        self._findings.expect("Accept-Encoding" in answer.headers.get("Vary", ""), "a playlist without Vary")
        return parse(answer.body)

    def _take(self, new: MediaPlaylist) -> MediaPlaylist | None:
        """The playlist as a player has it now; None where it could make nothing of a delta update."""
        findings, before = self._findings, self.current
        findings.playlists += 1
        findings.run(self._name, check, new)
        if new.skipped:
            findings.deltas += 1
            assert before is not None
            try:
                new = merge(before, new)
            except AssertionError:
                findings.expect(False, f"{self._name}: a delta update skips what the player never had")
                return None
        if before is not None:
            findings.run(self._name, check_next, before, new)
            findings.run(self._name, check_hint_came, before, new)
        self.current = new
        return new

    async def _fetch_new(self) -> None:
        playlist = self.current
        if playlist is None:
            return
        for segment in playlist.segments:
            await self._fetch_segment(segment)
        newest = playlist.segments[-1]
        if newest.started_at is not None and newest.parts:
            end = newest.started_at.timestamp() + sum(part.duration_s for part in newest.parts)
            self._findings.behind_live_s.append(time.time() - end)

    async def _fetch_segment(self, segment: SegmentLine) -> None:
        findings = self._findings
        if segment.map_uri and segment.map_uri not in self._seen:
            self._seen.add(segment.map_uri)
            init = await self._player.media(urljoin(self._url, segment.map_uri))
            findings.expect(init is None or bool(read_format(init)), f"{segment.map_uri} is no init segment")
        for part in segment.parts:
            if part.uri not in self._seen:
                self._seen.add(part.uri)
                body = await self._player.media(urljoin(self._url, part.uri))
                if body is not None:
                    findings.parts += 1
                    self._parts[part.uri] = body
                    self._check_media(part.uri, body, part.duration_s, part.independent)
        if segment.uri and segment.uri not in self._seen:
            self._seen.add(segment.uri)
            findings.discontinuities += segment.discontinuity
            findings.gaps += segment.gap
            await self._fetch_whole(segment)

    async def _fetch_whole(self, segment: SegmentLine) -> None:
        if segment.gap or segment.uri is None:
            return
        body = await self._player.media(urljoin(self._url, segment.uri))
        if body is None:
            return
        self._findings.segments += 1
        self._check_media(segment.uri, body, segment.duration_s, None)
        parts = [self._parts.pop(part.uri, None) for part in segment.parts]
        if parts and None not in parts:
            joined = b"".join(part for part in parts if part is not None)
            self._findings.expect(joined == body, f"{segment.uri} is not what its parts are")

    def _check_media(self, uri: str, body: bytes, duration_s: float, independent: bool | None) -> None:
        samples = read_samples(body)
        self._findings.expect(bool(samples), f"{uri} is empty")
        if not samples:
            return
        self._findings.expect(_is_unbroken(samples), f"{uri}: its access units do not follow one another")
        if independent is not None:
            self._findings.expect(samples[0].keyframe == independent, f"{uri}: INDEPENDENT is not true")
        ticks = sum(sample.duration for sample in samples)
        rates = (90_000, 48_000, 44_100, 32_000, 24_000, 16_000, 8_000)
        near = any(abs(ticks / rate - duration_s) < 0.001 for rate in rates)
        self._findings.expect(near, f"{uri} does not last as long as the playlist says")


def _is_unbroken(samples: Sequence[ReadSample]) -> bool:
    ends = [sample.decode_time + sample.duration for sample in samples]
    return all(abs(after.decode_time - end) <= 1 for after, end in zip(samples[1:], ends, strict=False))


async def check_server(
    url: str,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    *,
    insecure: bool = False,
    again_s: float = AGAIN_S,
) -> Findings:
    """Follows the stream for so long, and fetches what is listed once more `again_s` later.

    Raises aiohttp.ClientError where there is no server.
    """
    findings = Findings()
    ask = {"Accept-Encoding": "gzip", **(headers or {})}
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    connector = aiohttp.TCPConnector(ssl=_no_questions() if insecure else True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as http:
        player = Player(http, ask, findings)
        answer = await player.ask(url)
        if answer.status != 200:
            findings.expect(False, f"the multivariant playlist: {answer.status} {answer.body[:300]!r}")
            return findings
        tracks = _read_master(url, answer.body.decode(), findings)
        followers = [Follower(player, track) for track in tracks]
        await asyncio.gather(*(follower.run(time.monotonic() + seconds) for follower in followers))
        _check_tracks([one.current for one in followers if one.current is not None], findings)
        await _ask_nonsense(player, tracks[0], followers[0].current)
        await _fetch_again(player, followers, again_s)
    return findings


def _read_master(url: str, text: str, findings: Findings) -> list[str]:
    """The media playlists' URLs (4.4.6)."""
    lines, tracks = text.splitlines(), list[str]()
    findings.expect(lines[0] == "#EXTM3U", "the multivariant playlist does not begin with #EXTM3U")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        tag, _, value = line.partition(":")
        found = attributes(value)
        if tag == "#EXT-X-STREAM-INF":
            for name in ("BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"):
                findings.expect(name in found, f"EXT-X-STREAM-INF without {name}")
            tracks.insert(0, urljoin(url, following))
        elif tag == "#EXT-X-MEDIA":
            tracks.append(urljoin(url, found["URI"]))
    findings.expect(bool(tracks), "the multivariant playlist has no variant")
    return tracks


def _check_tracks(playlists: Sequence[MediaPlaylist], findings: Findings) -> None:
    """Renditions number segments and discontinuities alike (6.2.4), and report truly of one another (4.4.5.4)."""
    for one in playlists[1:]:
        first = playlists[0]
        findings.expect(one.target_s == first.target_s, "renditions differ in their target duration")
        mine, theirs = _by_msn(one), _by_msn(first)
        for msn in mine.keys() & theirs.keys():
            findings.expect(mine[msn].discontinuity == theirs[msn].discontinuity, f"renditions differ in segment {msn}")
    for one in playlists:
        for report in one.reports.values():
            last = one.first_msn + len(one.segments) - 1
            findings.expect(abs(int(report["LAST-MSN"]) - last) <= 1, "a rendition report is far from the truth")


def _by_msn(playlist: MediaPlaylist) -> dict[int, SegmentLine]:
    return dict(enumerate(playlist.segments, playlist.first_msn))


async def _ask_nonsense(player: Player, url: str, playlist: MediaPlaylist | None) -> None:
    """What must be refused (6.2.5.2), and that no cache may keep the refusal."""
    if playlist is None or not playlist.low_latency:
        return
    far = playlist.first_msn + len(playlist.segments) + _FAR_AHEAD
    asked = [
        (400, await player.ask(url, _HLS_msn=far)),
        (400, await player.ask(url, _HLS_part=1)),
        (404, await player.ask(urljoin(url, f"{urlsplit(url).path.rpartition('/')[2].partition('.')[0]}/1.m4s"))),
    ]
    for status, answer in asked:
        player.findings.expect(answer.status == status, f"{answer.status} where {status} was due")
        caching = answer.headers.get("Cache-Control", "")
        player.findings.expect("no-store" in caching, f"an error may be kept by caches ({caching})")


async def _fetch_again(player: Player, followers: Sequence[Follower], again_s: float) -> None:
    """What is still listed means what it meant."""
    await asyncio.sleep(again_s)
    before = {url for url in player.urls if any(_is_listed(url, one.current) for one in followers)}
    for url in sorted(before):
        await player.media(url)


def _is_listed(url: str, playlist: MediaPlaylist | None) -> bool:
    uris = [segment.uri for segment in playlist.complete] if playlist is not None else []
    return any(uri and url.endswith(uri) for uri in uris[len(uris) // 2 :])


def _shown(url: str) -> str:
    """Without what may be secret."""
    return "/".join(urlsplit(url).path.split("/")[-2:])


def _no_questions() -> ssl.SSLContext:
    """For a proxy on loopback whose certificate nobody signed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests hls_check")
    parser.add_argument("url", help="of the multivariant playlist")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--token", help="a Bearer token")
    parser.add_argument("--cookie")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    options = parser.parse_args(argv)
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    headers |= {"Cookie": options.cookie} if options.cookie else {}
    findings = asyncio.run(check_server(options.url, options.seconds, headers, insecure=options.insecure))
    if not options.json:
        print("\n".join(findings.broken) or "every rule was kept")
    print_json(as_json(findings))
    return 1 if findings.broken else 0


def as_json(findings: Findings) -> dict[str, Any]:
    behind = findings.behind_live_s
    counted = {name: getattr(findings, name) for name in findings.__dataclass_fields__ if name != "behind_live_s"}
    return counted | {"behind_live_s_p50": percentile(behind, 50) if behind else None}
