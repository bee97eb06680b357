"""What can be set, with its defaults: a frozen slice for each part."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`roles`: `record` pulls cameras, records and keeps to retention; `web` answers people; `unseal` opens footage for
    them. A server without `unseal` holds no key that opens footage, one without `record` pulls nothing.
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
    """`url` empty means SQLite in the data directory. For PostgreSQL are `password`, a reference, `tls_ca_file` and
    `query_timeout_s` (0: no bound), for SQLite `busy_timeout_s`.
    """

    url: str = ""
    password: str = ""
    tls_ca_file: str = ""
    query_timeout_s: float = 30.0
    busy_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """The S3-compatible store. `key_bucket` holds wrapped keys and must have neither versioning nor Object Lock.

    Uploads together take at most `upload_kbps` (0: no bound). A request fails after `request_timeout_s` without a
    step. `tolerate` are `checksums` and `conditional_writes` of a store that lacks them (docs/limits.md, Storage).
    `object_lock` is `off`, `governance` or `compliance`: each recording object is locked until `lock_days` after its
    last picture.
    """

    endpoint: str = "http://127.0.0.1:8333"
    region: str = "us-east-1"
    bucket: str = "mediasrv-footage"
    key_bucket: str = "mediasrv-keys"
    access_key: str = "env:MEDIASRV_S3_ACCESS_KEY"
    secret_key: str = "env:MEDIASRV_S3_SECRET_KEY"  # noqa: S105 - a reference, not a secret
    tolerate: tuple[str, ...] = ()
    parallel_uploads: int = 4
    upload_kbps: int = 0
    request_timeout_s: float = 30.0
    retry_first_s: float = 0.5
    retry_most_s: float = 30.0
    object_lock: str = "off"
    lock_days: int = 0


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """`directory` empty means `spool` in the data directory; `queue_bytes` bounds what waits for the next sync.

    The budget is the smaller one of `budget_bytes` (0: no such bound) and `disk_share` of what the spool uses and what
    is free on its disk. It should last for `budget_hours` of an outage of storage; the alarm comes at `alarm_share` of
    it, or where storage takes nothing and the rest lasts for less than `alarm_hours`.
    """

    directory: str = ""
    file_bytes: int = 256 * 1024 * 1024
    sync_interval_s: float = 0.25
    budget_bytes: int = 0
    disk_share: float = 0.8
    budget_hours: float = 24.0
    alarm_share: float = 0.5
    alarm_hours: float = 6.0
    queue_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """`part_s` bounds a part, `object_s` is how long a recording object runs before it ends at a keyframe.

    `preroll_bytes` bounds what all streams that wait for events keep in memory, `preroll_stream_bytes` what one keeps.
    `audio` is whether sound is recorded where neither a camera nor its place says so; of `audio_off_places` and
    `audio_on_places`, with all below them, the nearest one counts. `attestation` is `required` or `off`.
    """

    part_s: float = 0.48
    object_s: float = 60.0
    key_period_s: int = 3600
    preroll_bytes: int = 512 * 1024 * 1024
    preroll_stream_bytes: int = 32 * 1024 * 1024
    audio: bool = True
    audio_off_places: tuple[str, ...] = ()
    audio_on_places: tuple[str, ...] = ()
    attestation: str = "required"


@dataclass(frozen=True, slots=True)
class SealingSettings:
    """`node_key` and `identities` are references (`storage.identities`). Empty: `node.key`, and `identity.key` with
    each `identity-*.key`, in the data directory. `recipients_file` empty means `recipients.json` there.

    At most `key_cache_keys` opened data keys stay in memory, for `key_cache_s`, and identities as long. `backup_days`
    is how long the longest kept backup of the catalogue or the key bucket lives: receipts of destroyed keys say so;
    0 is not known.
    """

    node_key: str = ""
    recipients: tuple[str, ...] = ()
    recipients_file: str = ""
    identities: tuple[str, ...] = ()
    identity_timeout_s: float = 10.0
    key_cache_s: float = 300.0
    key_cache_keys: int = 4096
    backup_days: float = 0.0


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
    even out a bad line, by no less than `playout_delay_least_s` and no more than `playout_delay_most_s`; where packets
    get lost, by no less than `playout_delay_lossy_s`.
    """

    host: str | tuple[str, ...] = "127.0.0.1"
    port: int = 8189
    transports: tuple[str, ...] = ("udp", "tcp")
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
    playout_delay_lossy_s: float = 0.2

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

    Recorded footage is made by at most `most_playback` workers of its own for pictures and one for sound; at most
    `playback_waiting` cuts wait for one, and what was made is kept in at most `playback_cache_bytes` of memory.
    """

    most_video: int = 2
    most_audio: int = 16
    most_playback: int = 2
    playback_waiting: int = 16
    playback_cache_bytes: int = 64 * 1024 * 1024
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
    """Bounds where no policy of the camera or a place above it says one. `max_size_bytes` 0 means no bound by size.

    Where a policy keeps footage around events, `event_before_s` and `event_after_s` say how far around. `batch` objects
    are deleted at once, with `batch_pause_s` behind them. A preview looks at `preview_objects` of a camera at most.
    Receipts are `receipt_interval_s` apart at least.
    """

    max_age_days: float = 30.0
    max_size_bytes: int = 0
    event_before_s: int = 60
    event_after_s: int = 60
    interval_s: float = 60.0
    batch: int = 500
    batch_pause_s: float = 0.05
    preview_objects: int = 1_000_000
    receipt_interval_s: float = 3600.0
    clock_jump_s: float = 300.0


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """`interval_s` bounds how old what the bucket's journal says may be."""

    interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Exports of footage: `at_once` are made at a time, of `most_cameras` and `most_span_s` each. What is made is kept
    for `keep_s`, all together no more than `most_bytes`. Names and notes tell local time, `local_offset_min` from UTC.
    """

    at_once: int = 2
    most_cameras: int = 16
    most_span_s: float = 24 * 3600.0
    keep_s: float = 24 * 3600.0
    most_bytes: int = 50 * 1024**3
    local_offset_min: int = 420


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
    journal: JournalSettings = field(default_factory=JournalSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def data_path(self, configured: str, name: str) -> Path:
        """`configured`, or `name` in the data directory where it is empty."""
        return Path(configured) if configured else Path(self.server.data_dir) / name
