"""The one reader of configuration. Everything is parsed once, at the edge, into frozen slices;
each part is handed only its slice. config/mediasrv.toml shows every setting with its default.

A secret is written as a reference, `env:NAME` or `file:PATH`, and resolved by `read_secret` when it
is needed; a plain secret in a configuration file is refused.
"""

from mediasrv.settings.cameras import (
    GRID_STREAMS,
    RECORD_AUDIO,
    RECORD_STREAMS,
    CameraEntry,
    load_cameras,
    parse_fingerprint,
)
from mediasrv.settings.checks import KEY_SCHEMES, TRANSPORTS, WEBRTC_TRANSPORTS
from mediasrv.settings.plans import CONTINUOUS, RecordingPlan, parse_plan
from mediasrv.settings.reading import load_settings, parse_settings, read_secret
from mediasrv.settings.slices import (
    CatalogueSettings,
    ExportSettings,
    HlsSettings,
    JournalSettings,
    LogSettings,
    OnvifSettings,
    PullSettings,
    RecordingSettings,
    RetentionSettings,
    RtspServeSettings,
    SealingSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
    SpoolSettings,
    StorageSettings,
    SurveySettings,
    TranscodeSettings,
    WebRtcSettings,
)

__all__ = [
    "CONTINUOUS",
    "GRID_STREAMS",
    "KEY_SCHEMES",
    "RECORD_AUDIO",
    "RECORD_STREAMS",
    "TRANSPORTS",
    "WEBRTC_TRANSPORTS",
    "CameraEntry",
    "CatalogueSettings",
    "ExportSettings",
    "HlsSettings",
    "JournalSettings",
    "LogSettings",
    "OnvifSettings",
    "PullSettings",
    "RecordingPlan",
    "RecordingSettings",
    "RetentionSettings",
    "RtspServeSettings",
    "SealingSettings",
    "SecuritySettings",
    "ServerSettings",
    "Settings",
    "SpoolSettings",
    "StorageSettings",
    "SurveySettings",
    "TranscodeSettings",
    "WebRtcSettings",
    "load_cameras",
    "load_settings",
    "parse_fingerprint",
    "parse_plan",
    "parse_settings",
    "read_secret",
]
