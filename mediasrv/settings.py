"""The one reader of configuration. Everything is parsed once, at the edge, into frozen slices;
each part is handed only its slice. config/mediasrv.toml shows every setting with its default.

A secret is written as a reference, `env:NAME` or `file:PATH`, and resolved by `read_secret` when it
is needed; a plain secret in a configuration file is refused.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from mediasrv.errors import SettingsError

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""Of a cell or node: part of the keys of objects."""
_ICE_SERVER: Final = re.compile(r"[a-z]+:[A-Za-z0-9.:\[\]-]+(?:\?transport=(?:udp|tcp))?")
"""A STUN or TURN URI (RFC 7064, RFC 7065)."""
_ORIGIN: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?", re.ASCII)
TRANSPORTS: Final = ("auto", "tcp", "udp")
"""How media may come from a camera."""
RECORD_STREAMS: Final = ("main", "sub", "both")
"""What may be recorded of a camera."""
WEBRTC_TRANSPORTS: Final = ("udp", "tcp")
"""By what media may reach a WebRTC viewer."""
GRID_STREAMS: Final = ("main", "sub")
"""Which of its streams may stand for a camera in grids."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`roles`: `record` and `web` are always played; without `unseal` the server holds no key that opens footage.
    `allowed_origins` are those of other sites' pages that may join viewers, by Bearer token.
    `frame_ancestors` are the origins whose pages may show `/watch/{camera}` in a frame. `state_streams` bounds how
    many follow the states of cameras at once, `state_streams_per_account` how many of one account.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    allowed_origins: tuple[str, ...] = ()
    data_dir: str = "data"
    cell: str = "cell-1"
    node_name: str = "node-1"
    roles: tuple[str, ...] = ("record", "unseal", "web")
    trusted_proxies: tuple[str, ...] = ()
    shutdown_s: float = 5.0
    cameras_file: str = ""
    frame_ancestors: tuple[str, ...] = ()
    state_streams: int = 1000
    state_streams_per_account: int = 50


@dataclass(frozen=True, slots=True)
class CatalogueSettings:
    """`url` empty means SQLite in the data directory."""

    url: str = ""
    busy_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """The S3-compatible store. `key_bucket` holds wrapped keys and must have neither versioning nor Object Lock."""

    endpoint: str = "http://127.0.0.1:8333"
    region: str = "us-east-1"
    bucket: str = "mediasrv-footage"
    key_bucket: str = "mediasrv-keys"
    access_key: str = "env:MEDIASRV_S3_ACCESS_KEY"
    secret_key: str = "env:MEDIASRV_S3_SECRET_KEY"  # noqa: S105 - a reference, not a secret
    parallel_uploads: int = 4
    request_timeout_s: float = 30.0
    retry_first_s: float = 0.5
    retry_most_s: float = 30.0


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """`directory` empty means `spool` in the data directory; `queue_bytes` bounds what waits for the next sync."""

    directory: str = ""
    file_bytes: int = 256 * 1024 * 1024
    sync_interval_s: float = 0.25
    budget_bytes: int = 20 * 1024**3
    queue_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """`part_s` bounds a part, `object_s` is how long a recording object runs before it ends at a keyframe."""

    part_s: float = 0.48
    object_s: float = 60.0
    key_period_s: int = 3600


@dataclass(frozen=True, slots=True)
class SealingSettings:
    """Key files. Empty paths mean files of that name in the data directory; identities may be absent on a recorder."""

    node_key_file: str = ""
    recipients: tuple[str, ...] = ()
    identity_files: tuple[str, ...] = ()
    key_cache_s: float = 300.0


@dataclass(frozen=True, slots=True)
class PullSettings:
    """How cameras are pulled. Connections go only to `allowed_networks`, checked on the resolved address.

    While nobody watches a stream by WebRTC, what arrives within `gather_s` is read in one go. The default is no
    multiple of a usual picture interval: so pictures wait for different whiles, and the shortest wait shows.
    `transport` is `auto`
    (TCP, UDP where that brings nothing), `tcp` or `udp`; ports of UDP are the system's where `udp_first_port` is 0.
    `tls_ca_file` empty means the system's authorities.
    """

    allowed_networks: tuple[str, ...] = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 6.0
    stall_timeout_s: float = 10.0
    transport: str = "auto"
    first_packet_s: float = 5.0
    udp_first_port: int = 0
    udp_last_port: int = 0
    udp_buffer_bytes: int = 1024 * 1024
    reorder_packets: int = 512
    reorder_wait_s: float = 0.1
    tls_ca_file: str = ""
    tls_verify: bool = True
    most_redirects: int = 5
    redirect_credentials: bool = False
    backoff_first_s: float = 1.0
    backoff_most_s: float = 6.0
    backoff_password_s: float = 60.0
    stagger_s: float = 0.02
    handshakes: int = 64
    handshakes_per_host: int = 4
    linger_s: float = 20.0
    gather_s: float = 0.197
    receive_buffer_bytes: int = 262_144
    access_unit_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OnvifSettings:
    """Discovery sends from each address of `discovery_interfaces` (empty: the system's choice) to each target.

    `parallel` bounds how many devices are read or probed at once. A camera whose clock is off by more than
    `clock_alarm_s` shows an alarm, and is set where `set_clock` says so: by NTP where there is an `ntp_server`.
    `default_passwords` is `off`, `warn` or `refuse`.
    """

    timeout_s: float = 6.0
    discovery_s: float = 3.0
    discovery_targets: tuple[str, ...] = ("239.255.255.250:3702",)
    discovery_interfaces: tuple[str, ...] = ()
    parallel: int = 32
    clock_interval_s: float = 3600.0
    clock_alarm_s: float = 1.0
    set_clock: bool = False
    ntp_server: str = ""
    events: bool = True
    default_passwords: str = "warn"
    default_password_tries: int = 0
    ptz_hold_s: float = 2.0
    ptz_lock_s: float = 15.0


@dataclass(frozen=True, slots=True)
class SurveySettings:
    """Surveys of cameras before they are linked. Each stream is measured for `measure_s`, one at a time a site.

    A stream that loses a larger share of its packets than `most_lost_share`, or is of a higher bitrate than
    `most_stream_kbps`, is not linked; nor is one that no longer fits into its site's `most_site_kbps` (0: no bound).
    Keyframes further apart than `most_keyframe_s` are a remark. Ended surveys are kept for `keep_s`.
    """

    measure_s: float = 20.0
    devices_at_once: int = 32
    streams_at_once: int = 64
    surveys_at_once: int = 2
    most_lost_share: float = 0.002
    most_keyframe_s: float = 10.0
    most_stream_kbps: int = 0
    most_site_kbps: int = 0
    keep_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class WebRtcSettings:
    """`host` (one, or several) is bound; `advertised` are the addresses put into answers (NAT), default the bound ones.

    `transports` are `udp` and `tcp`; a `tcp_port` of 0 is the number of `port`. `joins_per_minute` bounds the offers
    and ICE restarts of a principal (0: no bound), `handshakes` viewers that are not connected yet. TURN servers take
    credentials made with `turn_secret`, valid for `turn_ttl_s`.

    `payload_bytes` bounds an RTP payload; `ring_s` is how long a packet can be asked for again. What is larger than
    `burst_packets` leaves in bursts each `pace_s`: 30 packets in 30 ms are 10 Mbit/s. `main_kbps` is what a main stream
    is taken for that nobody has pulled yet, where a viewer may choose between streams. Packets of G.711 have at least
    `sound_packet_s`. `srtp_sha1` also takes viewers
    that know no AEAD_AES_128_GCM, by AES_CM_128_HMAC_SHA1_80 (RFC 8827, 6.5). Viewers hold pictures back to
    even out a bad line, by no less than `playout_delay_least_s` and no more than `playout_delay_most_s`.
    """

    host: str | tuple[str, ...] = "127.0.0.1"
    port: int = 8189
    transports: tuple[str, ...] = WEBRTC_TRANSPORTS
    tcp_port: int = 0
    tcp_connections: int = 2000
    advertised: tuple[str, ...] = ()
    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    turn_secret: str = ""
    turn_ttl_s: int = 12 * 3600
    joins_per_minute: int = 300
    handshakes: int = 200
    payload_bytes: int = 1172
    ring_s: float = 4.0
    most_viewers: int = 1000
    consent_s: float = 30.0
    handshake_s: float = 10.0
    burst_packets: int = 30
    pace_s: float = 0.03
    sound_packet_s: float = 0.04
    srtp_sha1: bool = True
    main_kbps: int = 4000
    playout_delay_least_s: float = 0.0
    playout_delay_most_s: float = 1.0

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,) if isinstance(self.host, str) else self.host


@dataclass(frozen=True, slots=True)
class HlsSettings:
    """`window_s` of live parts is kept in memory per watched stream; an unwatched one is dropped after `linger_s`.

    `token_s` is how long a path token lives without being used, `token_most_s` how long at all.
    """

    window_s: float = 12.0
    linger_s: float = 30.0
    blocking_s: float = 8.0
    playback_most_s: float = 6 * 3600.0
    dvr_most_s: float = 2 * 3600.0
    token_s: float = 300.0
    token_most_s: float = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class TranscodeSettings:
    """What is made of streams for viewers who cannot take them as they are, each in a worker process.

    At most `most_video` and `most_audio` workers at once; one that nobody wants any more ends after `linger_s`, one
    that does not answer for `hang_s` is ended. Pictures have at most `video_height` lines and `video_kbps`, sound has
    `opus_kbps` or `aac_kbps` a channel. `nice` is how far workers stand back behind the server. A worker that fails is
    started again after `backoff_first_s`, doubled up to `backoff_most_s`.
    """

    most_video: int = 2
    most_audio: int = 16
    video_height: int = 720
    video_kbps: int = 2000
    opus_kbps: int = 32
    aac_kbps: int = 48
    linger_s: float = 10.0
    hang_s: float = 5.0
    nice: int = 5
    backoff_first_s: float = 0.5
    backoff_most_s: float = 30.0
    snapshots_waiting: int = 128


@dataclass(frozen=True, slots=True)
class RtspServeSettings:
    """RTSP for other components. A port of 0 is off (`udp_port`: any free pair); `host` is an address of this machine.

    `certificate_file` and `key_file` (PEM) are those of RTSPS; without them a certificate is made in the data
    directory. `udp` also sends over UDP, from `udp_port` and the one behind it. A reader for whom more than
    `most_waiting_bytes` would wait, or who stays behind for longer than `behind_s`, loses to the next keyframe; who
    takes nothing for `stall_s` is ended. Who has not authenticated within `stranger_s` is ended, too; a session without
    a sign of life lasts `session_s`. `start_cached`: readers begin with what is cached since the last keyframe.
    """

    host: str = "127.0.0.1"
    port: int = 8554
    tls_port: int = 8322
    certificate_file: str = ""
    key_file: str = ""
    udp: bool = True
    udp_port: int = 0
    payload_bytes: int = 1400
    start_cached: bool = True
    most_connections: int = 1000
    most_per_address: int = 300
    most_waiting_bytes: int = 4 * 1024 * 1024
    behind_s: float = 2.0
    stall_s: float = 10.0
    stranger_s: float = 10.0
    session_s: float = 60.0
    report_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """argon2id costs follow RFC 9106, 4 (second recommended option).

    `head_interval_s` bounds how old the copy of the access log's head in the footage bucket is.
    """

    session_s: int = 12 * 3600
    login_attempts: int = 10
    login_window_s: int = 300
    argon2_time_cost: int = 3
    argon2_memory_kib: int = 65536
    argon2_parallelism: int = 4
    cookie_secure: bool = False
    invite_s: int = 24 * 3600
    head_interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Defaults of a camera without a policy of its own. `max_size_bytes` 0 means no bound by size."""

    max_age_days: float = 30.0
    max_size_bytes: int = 0
    interval_s: float = 60.0
    batch: int = 500
    clock_jump_s: float = 300.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything, one slice a part."""

    server: ServerSettings = field(default_factory=ServerSettings)
    catalogue: CatalogueSettings = field(default_factory=CatalogueSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    sealing: SealingSettings = field(default_factory=SealingSettings)
    pull: PullSettings = field(default_factory=PullSettings)
    onvif: OnvifSettings = field(default_factory=OnvifSettings)
    survey: SurveySettings = field(default_factory=SurveySettings)
    webrtc: WebRtcSettings = field(default_factory=WebRtcSettings)
    hls: HlsSettings = field(default_factory=HlsSettings)
    transcode: TranscodeSettings = field(default_factory=TranscodeSettings)
    rtsp_serve: RtspServeSettings = field(default_factory=RtspServeSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def data_path(self, configured: str, name: str) -> Path:
        """`configured`, or `name` in the data directory where it is empty."""
        return Path(configured) if configured else Path(self.server.data_dir) / name


def load_settings(path: Path) -> Settings:
    """Reads a TOML file. Relative paths in it are taken from the working directory.

    Raises SettingsError that names the setting, what stands there and what belongs there.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise SettingsError(f"There is no configuration file {path}.") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise SettingsError(f"{path} is not valid TOML: {broken}.") from broken
    return parse_settings(document)


def parse_settings(document: Mapping[str, Any]) -> Settings:
    """A parsed TOML document as Settings; unknown sections and names are errors, not silently ignored."""
    settings = _parse_slice(Settings, document, "")
    _check(settings)
    return settings


def read_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """Resolves `env:NAME` or `file:PATH`. Raises SettingsError; never puts the secret into a message."""
    scheme, separator, name = reference.partition(":")
    if not separator or scheme not in ("env", "file"):
        raise SettingsError("A secret must be a reference: env:NAME or file:PATH.", code="settings_secret_plain")
    if scheme == "env":
        value = (os.environ if environ is None else environ).get(name)
        if value is None:
            raise SettingsError(f"The environment variable {name} is not set.")
        return value
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"The secret file {name} cannot be read: {error.strerror}.") from error


def _parse_slice(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(typing.cast(Any, kind))]
    for name in values:
        if name not in names:
            raise SettingsError(f"{where}{name} is no setting; known here: {', '.join(names)}.")
    parsed = {name: _parse_value(hints[name], values[name], where + name) for name in names if name in values}
    return kind(**parsed)


def _parse_value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{where} must be a table.")
        return _parse_slice(typing.cast(type, hint), value, where + ".")
    if typing.get_origin(hint) is types.UnionType:  # one, or a list
        one, hint = typing.get_args(hint)
        if type(value) is one:
            return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{where} must be a list of strings.")
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, types.UnionType) or type(value) is not hint:
        raise SettingsError(f"{where} must be {hint.__name__}, not {type(value).__name__}.")
    if hint in (int, float) and value < 0:
        raise SettingsError(f"{where} must not be negative.")
    return value


def _check(settings: Settings) -> None:
    _check_server(settings.server)
    if not 0.1 <= settings.recording.part_s <= 0.5:
        raise SettingsError("recording.part_s must lie between 0.1 and 0.5 seconds.")
    if not 0.05 <= settings.spool.sync_interval_s <= 0.35:
        raise SettingsError("spool.sync_interval_s must lie between 0.05 and 0.35 seconds.")
    if not 0.01 <= settings.pull.gather_s <= 0.25:
        raise SettingsError("pull.gather_s must lie between 0.01 and 0.25 seconds.")
    if settings.security.head_interval_s < 1:
        raise SettingsError("security.head_interval_s must be at least 1 second.")
    if settings.hls.dvr_most_s > settings.hls.playback_most_s:
        raise SettingsError("hls.dvr_most_s must be at most hls.playback_most_s.")
    if settings.recording.object_s < 5:
        raise SettingsError("recording.object_s must be at least 5 seconds.")
    if settings.storage.bucket == settings.storage.key_bucket:
        raise SettingsError("storage.key_bucket must be another bucket than storage.bucket.")
    for name in ("access_key", "secret_key"):
        if getattr(settings.storage, name).partition(":")[0] not in ("env", "file"):
            raise SettingsError(
                f"storage.{name} must be a reference: env:NAME or file:PATH.", code="settings_secret_plain"
            )
    _check_pull(settings.pull)
    _check_onvif(settings.onvif)
    _check_survey(settings.survey)
    _check_rtsp_serve(settings.rtsp_serve)
    _check_webrtc(settings.webrtc)
    _check_transcode(settings.transcode)


def _check_pull(pull: PullSettings) -> None:
    if pull.transport not in TRANSPORTS:
        raise SettingsError("pull.transport must be auto, tcp or udp.")
    if pull.udp_first_port and not 1024 <= pull.udp_first_port <= pull.udp_last_port - 3 <= 65_532:
        raise SettingsError("pull.udp_first_port to pull.udp_last_port must hold at least four ports from 1024 on.")
    if not 0 < pull.reorder_wait_s <= 1 or not 0 < pull.reorder_packets <= 3000:
        raise SettingsError("pull.reorder_wait_s must be at most 1 second, pull.reorder_packets at most 3000.")
    if pull.handshakes < 1 or pull.handshakes_per_host < 1:
        raise SettingsError("pull.handshakes and pull.handshakes_per_host must be at least 1.")
    for network in pull.allowed_networks:
        _check_network(network)


def _check_server(server: ServerSettings) -> None:
    unknown = set(server.roles) - {"record", "unseal", "web"}
    if unknown:
        raise SettingsError(f"server.roles knows record, unseal and web, not {', '.join(sorted(unknown))}.")
    if not {"record", "web"} <= set(server.roles):
        raise SettingsError("server.roles must hold record and web; only unseal may be left out.")
    for origin in server.allowed_origins:
        if origin != "*" and (_ORIGIN.fullmatch(origin) is None or origin != origin.lower()):
            raise SettingsError(
                f"server.allowed_origins: {origin} is no origin such as https://wall.example.org, in small letters."
            )
    for name in ("cell", "node_name"):
        if _NAME.fullmatch(getattr(server, name)) is None:
            raise SettingsError(f"server.{name} must be 1 to 64 of a-z, 0-9 and inner hyphens.")
    for origin in server.frame_ancestors:
        if origin != "'self'" and _ORIGIN.fullmatch(origin) is None:
            raise SettingsError(f"server.frame_ancestors: {origin} is no origin such as https://vms.example.org.")


def _check_onvif(onvif: OnvifSettings) -> None:
    if onvif.default_passwords not in ("off", "warn", "refuse"):
        raise SettingsError("onvif.default_passwords must be off, warn or refuse.")
    if onvif.default_password_tries > 2:
        raise SettingsError("onvif.default_password_tries must be at most 2: some cameras lock an account at 3.")
    if onvif.parallel < 1 or onvif.clock_interval_s < 60:
        raise SettingsError("onvif.parallel must be at least 1 and onvif.clock_interval_s at least 60 seconds.")
    if not 0.5 <= onvif.ptz_hold_s <= onvif.ptz_lock_s:
        raise SettingsError("onvif.ptz_hold_s must be at least 0.5 seconds, and no longer than onvif.ptz_lock_s.")


def _check_survey(survey: SurveySettings) -> None:
    if not 1 <= survey.measure_s <= 600:
        raise SettingsError("survey.measure_s must lie between 1 and 600 seconds.")
    if min(survey.devices_at_once, survey.streams_at_once, survey.surveys_at_once) < 1:
        raise SettingsError(
            "survey.devices_at_once, survey.streams_at_once and survey.surveys_at_once must be at least 1."
        )
    if survey.most_lost_share >= 1:
        raise SettingsError("survey.most_lost_share must be less than 1: 0.01 is a hundredth.")


def _check_rtsp_serve(serve: RtspServeSettings) -> None:
    try:
        ipaddress.ip_address(serve.host)
    except ValueError as error:
        raise SettingsError(f"rtsp_serve.host must be an IP address, not {serve.host}.") from error
    if bool(serve.certificate_file) != bool(serve.key_file):
        raise SettingsError("rtsp_serve.certificate_file and rtsp_serve.key_file belong together.")
    if max(serve.port, serve.tls_port, serve.udp_port + 1) > 65_535:
        raise SettingsError("A port of rtsp_serve is above 65535.")
    if not 200 <= serve.payload_bytes <= 8000:
        raise SettingsError("rtsp_serve.payload_bytes must lie between 200 and 8000.")
    if serve.most_connections < 1 or serve.most_per_address < 1:
        raise SettingsError("rtsp_serve.most_connections and rtsp_serve.most_per_address must be at least 1.")
    if serve.most_waiting_bytes < 65_536:
        raise SettingsError("rtsp_serve.most_waiting_bytes must be at least 65536.")
    if min(serve.behind_s, serve.stall_s, serve.stranger_s, serve.report_s) < 0.1 or serve.session_s < 5:
        raise SettingsError("Times of rtsp_serve must be at least 0.1 seconds, and session_s at least 5.")


def _check_webrtc(webrtc: WebRtcSettings) -> None:
    for host in webrtc.hosts:
        _check_address(host)
    if not webrtc.hosts or not webrtc.transports or set(webrtc.transports) - set(WEBRTC_TRANSPORTS):
        raise SettingsError("webrtc.host must name an address, and webrtc.transports udp, tcp or both.")
    if webrtc.handshakes < 1 or webrtc.turn_ttl_s < 60:
        raise SettingsError("webrtc.handshakes must be at least 1 and webrtc.turn_ttl_s at least 60 seconds.")
    if bool(webrtc.turn) != bool(webrtc.turn_secret):
        raise SettingsError("webrtc.turn and webrtc.turn_secret belong together.")
    if webrtc.turn_secret and webrtc.turn_secret.partition(":")[0] not in ("env", "file"):
        raise SettingsError(
            "webrtc.turn_secret must be a reference: env:NAME or file:PATH.", code="settings_secret_plain"
        )
    for name, schemes in (("stun", ("stun", "stuns")), ("turn", ("turn", "turns"))):
        for uri in getattr(webrtc, name):
            if uri.partition(":")[0] not in schemes or not _ICE_SERVER.fullmatch(uri):
                raise SettingsError(f"webrtc.{name}: {uri} is no address such as {name}:{name}.example.org:3478.")


def _check_address(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise SettingsError(f"webrtc.host takes IP addresses, not {host}.") from error


def _check_transcode(transcode: TranscodeSettings) -> None:
    if not 96 <= transcode.video_height <= 2160 or not 100 <= transcode.video_kbps <= 20_000:
        raise SettingsError(
            "transcode.video_height must lie between 96 and 2160 lines, transcode.video_kbps between 100 and 20000."
        )
    if not all(8 <= kbps <= 256 for kbps in (transcode.opus_kbps, transcode.aac_kbps)):
        raise SettingsError("transcode.opus_kbps and transcode.aac_kbps must lie between 8 and 256.")
    if transcode.nice > 19 or transcode.hang_s < 1 or transcode.backoff_first_s <= 0:
        raise SettingsError(
            "transcode.nice must be at most 19, transcode.hang_s at least 1 second, transcode.backoff_first_s above 0."
        )


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise SettingsError(f"pull.allowed_networks: {network} is no network such as 192.168.0.0/16.") from error


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """One camera of config/cameras.toml. Credentials are references (`env:NAME`, `file:PATH`). An empty `grid_stream`
    is the substream where there is one."""

    id: str
    address: str
    name: str = ""
    sub_address: str = ""
    username: str = ""
    password: str = ""
    place: str = ""
    record: bool = True
    enabled: bool = True
    transport: str = ""
    tls_fingerprint: str = ""
    record_stream: str = "main"
    grid_stream: str = ""


def load_cameras(path: Path) -> tuple[CameraEntry, ...]:
    """The `[[camera]]` tables of a cameras file. Raises SettingsError that names the camera at fault."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The cameras file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise SettingsError(f"{path} is not valid TOML: {broken}.") from broken
    tables = document.get("camera", [])
    if set(document) - {"camera"} or not isinstance(tables, list):
        raise SettingsError(f"{path} may hold [[camera]] tables only.")
    entries = tuple(_camera_entry(table, f"camera {number}") for number, table in enumerate(tables, 1))
    ids = [entry.id for entry in entries]
    doubled = {one for one in ids if ids.count(one) > 1}
    if doubled:
        raise SettingsError(f"{path} has the camera {doubled.pop()} twice.")
    return entries


def _camera_entry(table: Any, where: str) -> CameraEntry:
    if not isinstance(table, Mapping) or "id" not in table or "address" not in table:
        raise SettingsError(f"{where} needs at least an id and an address.")
    entry = _parse_slice(CameraEntry, table, f"{where}: ")
    if entry.password and entry.password.partition(":")[0] not in ("env", "file"):
        raise SettingsError(
            f"{where}: password must be a reference: env:NAME or file:PATH.", code="settings_secret_plain"
        )
    if entry.transport and entry.transport not in TRANSPORTS:
        raise SettingsError(f"{where}: transport must be auto, tcp or udp.")
    _check_streams(entry, where)
    if entry.tls_fingerprint:
        entry = dataclasses.replace(entry, tls_fingerprint=parse_fingerprint(entry.tls_fingerprint))
    return entry


def _check_streams(entry: CameraEntry, where: str) -> None:
    if entry.record_stream not in RECORD_STREAMS:
        raise SettingsError(f"{where}: record_stream must be main, sub or both.")
    if entry.grid_stream and entry.grid_stream not in GRID_STREAMS:
        raise SettingsError(f"{where}: grid_stream must be main or sub.")
    plain = entry.address.startswith(("rtsp://", "rtsps://")) and not entry.sub_address
    if plain and (entry.record_stream != "main" or entry.grid_stream == "sub"):
        raise SettingsError(
            f"{where}: its streams name the substream, and there is no sub_address.", code="no_substream"
        )


def parse_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as 64 small hex digits; colons and blanks between are no matter. Raises SettingsError."""
    digits = re.sub(r"[:\s]", "", text).lower().removeprefix("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise SettingsError("A SHA-256 fingerprint has 64 hex digits.")
    return digits
