"""Which policy applies to a camera: the nearest that says something wins, for each bound by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from mediasrv.catalogue.policies import Bounds, Subject
from mediasrv.retention.plan import Policy
from mediasrv.settings import RetentionSettings, StorageSettings

T = TypeVar("T")

DAY_S: Final = 86_400
DEFAULTS: Final = "settings"
"""The source of a bound that nobody has set: the configuration."""


@dataclass(frozen=True, slots=True)
class Effective:
    """A policy, and where each of its bounds comes from: a subject as text, or DEFAULTS. Kinds are `event.KIND`."""

    policy: Policy
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What applies where no policy says anything. In compliance mode size is no policy, and footage that storage
    has locked stays for so long.
    """

    max_age_days: float
    max_size_bytes: int
    event_before_s: int
    event_after_s: int
    lock_days: int
    age_only: bool

    @classmethod
    def of(cls, retention: RetentionSettings, storage: StorageSettings) -> Defaults:
        locks = storage.object_lock != "off"
        return cls(
            retention.max_age_days,
            retention.max_size_bytes,
            retention.event_before_s,
            retention.event_after_s,
            storage.lock_days if locks else 0,
            storage.object_lock == "compliance",
        )


def effective(chain: Sequence[Subject], policies: Mapping[Subject, Bounds], defaults: Defaults) -> Effective:
    """What applies to a camera whose `chain` of subjects is given, the nearest first."""
    said = [(str(subject), policies[subject]) for subject in chain if subject in policies]
    sources: dict[str, str] = {}

    def pick(name: str, values: Iterable[tuple[str, T | None]], default: T) -> T:
        for source, value in values:
            if value is not None:
                sources[name] = source
                return value
        sources[name] = DEFAULTS
        return default

    age_days = pick("max_age_days", ((source, one.max_age_days) for source, one in said), defaults.max_age_days)
    size_bytes = pick("max_size_bytes", ((source, one.max_size_bytes) for source, one in said), defaults.max_size_bytes)
    before_s = pick("event_before_s", ((source, one.event_before_s) for source, one in said), defaults.event_before_s)
    after_s = pick("event_after_s", ((source, one.event_after_s) for source, one in said), defaults.event_after_s)
    kinds = sorted({kind for _, one in said for kind in one.keep_events})
    keep = [
        (kind, pick(f"event.{kind}", ((source, one.keep_events.get(kind)) for source, one in said), 0))
        for kind in kinds
    ]
    return Effective(
        Policy(
            age_days * DAY_S,
            0 if defaults.age_only else size_bytes,
            tuple((kind, days * DAY_S) for kind, days in keep if days),
            before_s,
            after_s,
            defaults.lock_days * DAY_S,
        ),
        sources,
    )
