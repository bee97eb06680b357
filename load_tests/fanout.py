"""`python -m load_tests fanout --viewers 200 --seconds 15 --json`: CPU of one stream sent to many WebRTC viewers.

The server and the viewers are processes of their own; only the server's CPU counts. Every viewer does a real
handshake, checks the continuity of what it receives, decrypts a sample of it and notes of each picture how late its
last packet came (by the kernel's clock of arrival, against when it was due) and how long after it was published.

`--against libsrtp,janus,aiortc` runs others right after, with the same clip and the same viewers, in turn with
mediasrv for `--runs` rounds; figures are medians. `libsrtp` is mediasrv with libsrtp and one `sendto` a packet in
place of AES-GCM in one call and GSO. The others need root, for a network namespace. `--joins 40` lets so many viewers
a second come and leave beside the measured ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from load_tests.child import child_process, read_json, write_line
from load_tests.fanout_others import OTHERS, UNDRIVEN, own, why_missing
from load_tests.fanout_others.running import Running
from load_tests.measure import machine, median_of, print_json, rss_bytes, usage_of, viewer_figures

_SETTLE_S: Final = 1.0
_RING_FULL_S: Final = 4.5
"""Longer than packets are kept: memory that a stream takes once is no viewer's."""
_MOST_VIEWERS: Final = {"aiortc": 50}
"""What another server takes of one core; beyond it, it falls behind and a figure says nothing."""
_JOINED_S: Final = 2.0


def main(argv: Sequence[str]) -> int:
    options = _parse(argv)
    there = [name for name in options.against if not why_missing(name)]
    missing = {name: why_missing(name) for name in options.against if name not in there}
    for name, why in missing.items():
        print(f"{name} is not measured. {why}", file=sys.stderr)
    rounds = [_round(options, there) for _ in range(options.runs)]
    result = _result(rounds, options.viewers, there) | ({"missing": missing} if missing else {})
    if not options.json:
        _print_table(result)
    print_json(result)
    return 0 if all(_sound(one[f"mediasrv {options.viewers}"]) for one in rounds) else 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="load_tests fanout")
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--runs", type=int, default=1, help="rounds; figures are their medians")
    parser.add_argument("--audio", action="store_true", help="G.711 beside the pictures")
    parser.add_argument("--joins", type=float, default=0.0, help="viewers a second that come and leave beside")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    parser.add_argument("--against", type=_names, default=[], help=f"of {', '.join(OTHERS)}, with commas between")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in (*OTHERS, *UNDRIVEN)]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


def _round(options: argparse.Namespace, others: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One run of each, in turn. An other that takes fewer viewers is held against mediasrv with as many."""
    runs: dict[str, dict[str, Any]] = {}
    for name in ("mediasrv", *others):
        viewers = min(options.viewers, _MOST_VIEWERS.get(name, options.viewers))
        for subject in {f"mediasrv {viewers}": "mediasrv", f"{name} {viewers}": name}.items():
            if subject[0] not in runs:
                runs[subject[0]] = measure(
                    subject[1], viewers, options.seconds, audio=options.audio, joins=options.joins
                )
    return runs


def _result(rounds: Sequence[dict[str, dict[str, Any]]], viewers: int, others: Sequence[str]) -> dict[str, Any]:
    """The medians of mediasrv; `references` of the others, with the median of the ratios of each round."""
    key = f"mediasrv {viewers}"
    result = median_of([one[key] for one in rounds])
    result |= {"runs": len(rounds), "machine": machine(), "each": [one[key]["ms_cpu_per_viewer_s"] for one in rounds]}
    references = {name: _reference(rounds, name) for name in others}
    if references:
        first = references[others[0]]
        result |= {"reference": first, "ratio": first["ratio"], "references": references}
    return result


def _reference(rounds: Sequence[dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    key = next(key for key in rounds[0] if key.startswith(f"{name} "))
    ours = f"mediasrv {key.split()[1]}"
    theirs = median_of([one[key] for one in rounds])
    figure = "ms_cpu_per_viewer_s"
    return theirs | {
        "name": name,
        "each": [one[key][figure] for one in rounds],
        "mediasrv": median_of([one[ours] for one in rounds])[figure],
        "ratio": statistics.median(one[ours][figure] / one[key][figure] for one in rounds),
    }


def _sound(run: dict[str, Any]) -> bool:
    return not (run["lost"] or run["not_authentic"] or run["faults"] or run["viewers_without_media"])


def _print_table(result: dict[str, Any]) -> None:
    rows = {"mediasrv": result, **result.get("references", {})}
    print(f"{'':10}{'viewers':>8}{'ms CPU / viewer-s':>20}{'KB / viewer':>12}{'late p99.9':>12}{'latest ms':>10}")
    for name, row in rows.items():
        print(
            f"{name:10}{row['viewers']:8}{row['ms_cpu_per_viewer_s']:20.2f}{row.get('memory_kb_per_viewer', 0):12.0f}"
            f"{row['late_ms_p999']:12.1f}{row['late_ms_max']:10.1f}"
        )


def measure(name: str, viewers: int, seconds: float, *, audio: bool = False, joins: float = 0.0) -> dict[str, Any]:
    """One run of one server. Raises RuntimeError where a process does not come up or viewers get no picture."""
    with OTHERS[name](audio) if name in OTHERS else own(audio=audio) as server:
        arguments = ["--url", server.url, "--signalling", server.signalling, *(["--audio"] if audio else [])]
        watching = ["--viewers", str(viewers), "--pause", *arguments]
        with child_process("load_tests.webrtc_viewers", *watching, prefix=server.prefix) as watchers:
            _joined(watchers)
            time.sleep(_RING_FULL_S)
            first_bytes = rss_bytes(server.pid)
            write_line(watchers, "join")
            waits = _joined(watchers)
            with _storm(server, arguments, joins) as storm:
                result = _window(server, watchers, viewers, seconds)
            grown_bytes = result.pop("rss_bytes") - first_bytes
            # Who came with the storm was of no account to the first look.
            memory = {} if joins else {"memory_kb_per_viewer": grown_bytes / 1000 / max(1, viewers - 1)}
            return {**waits, **result, **storm, **memory}


def _joined(watching: Any) -> dict[str, Any]:
    joined = read_json(watching)
    if not joined.pop("complete"):
        raise RuntimeError("not every viewer got a picture")
    return joined


@contextmanager
def _storm(server: Running, arguments: Sequence[str], joins: float) -> Iterator[dict[str, Any]]:
    """Viewers that come and leave during the block; what became of them, with `storm_` before, stands afterwards."""
    found: dict[str, Any] = {}
    if not joins:
        yield found
        return
    options = ["--joins-per-s", str(joins), *arguments]
    with child_process("load_tests.webrtc_viewers", *options, prefix=server.prefix) as coming:
        time.sleep(_JOINED_S)
        yield found
        write_line(coming, "stop")
        found |= {f"storm_{name}": value for name, value in read_json(coming).items()}


def _window(server: Running, watching: Any, viewers: int, seconds: float) -> dict[str, Any]:
    time.sleep(_SETTLE_S)  # the last joiners' cached pictures are through
    before = stats(server)
    write_line(watching, "start")
    with usage_of(server.pid) as usage:
        time.sleep(seconds)
    after = stats(server)
    write_line(watching, "stop")
    counts = read_json(watching)
    return {
        **viewer_figures(usage, viewers, counts["octets"]),
        "us_cpu_per_packet": usage.cpu_s * 1e6 / max(1, counts["packets"] + counts["audio_packets"]),
        "rss_bytes": usage.rss_bytes,
        **counts,
        **(_own_counts(before, after, viewers) if server.stats_url else {}),
    }


def _own_counts(before: dict[str, Any], after: dict[str, Any], viewers: int) -> dict[str, Any]:
    """What only mediasrv tells of itself."""
    return {
        "access_units_sent": (after["access_units"] - before["access_units"]) * viewers,
        "loop_late_ms_p99": after["loop_late_ms_p99"],
        "send_blocked": after["counters"]["blocked"] - before["counters"]["blocked"],
        "unsegmented": after["counters"]["unsegmented"],
    }


def stats(server: Running) -> dict[str, Any]:
    if not server.stats_url:
        return {}
    with urllib.request.urlopen(server.stats_url, timeout=10) as response:  # noqa: S310 - our own server
        answer: dict[str, Any] = json.load(response)
        return answer
