"""What settings may not say, each with a sentence that names the setting."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Final

from mediasrv.errors import SettingsError
from mediasrv.settings.slices import (
    CatalogueSettings,
    ExportSettings,
    OnvifSettings,
    PullSettings,
    RecordingSettings,
    RetentionSettings,
    RtspServeSettings,
    SealingSettings,
    ServerSettings,
    Settings,
    SpoolSettings,
    StorageSettings,
    SurveySettings,
    TranscodeSettings,
    WebRtcSettings,
)

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""Of a cell or node: part of the keys of objects."""
_ICE_SERVER: Final = re.compile(r"[a-z]+:[A-Za-z0-9.:\[\]-]+(?:\?transport=(?:udp|tcp))?")
"""A STUN or TURN URI (RFC 7064, RFC 7065)."""
_ORIGIN: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?", re.ASCII)
KEY_SCHEMES: Final = ("file", "env", "systemd", "command")
"""Where a private key may lie: `storage.identities`."""
_DATABASES: Final = ("sqlite", "postgresql", "postgresql+pg8000")
TRANSPORTS: Final = ("auto", "tcp", "udp")
"""How media may come from a camera."""
WEBRTC_TRANSPORTS: Final = ("udp", "tcp")
"""By what media may reach a WebRTC viewer."""


def check(settings: Settings) -> None:
    """Raises SettingsError."""
    _check_server(settings.server)
    _check_spool(settings.spool)
    _check_recording(settings.recording)
    if not 0.01 <= settings.pull.gather_s <= 0.25:
        raise SettingsError("pull.gather_s must lie between 0.01 and 0.25 seconds.")
    if settings.security.head_interval_s < 1:
        raise SettingsError("security.head_interval_s must be at least 1 second.")
    if settings.hls.dvr_most_s > settings.hls.playback_most_s:
        raise SettingsError("hls.dvr_most_s must be at most hls.playback_most_s.")
    _check_storage(settings.storage)
    _check_sealing(settings.sealing)
    _check_storage_lock(settings.storage, settings.retention)
    _check_retention(settings.retention)
    _check_catalogue(settings.catalogue)
    _check_pull(settings.pull)
    _check_onvif(settings.onvif)
    _check_survey(settings.survey)
    _check_rtsp_serve(settings.rtsp_serve)
    _check_webrtc(settings.webrtc)
    _check_transcode(settings.transcode)
    _check_export(settings.export)


def _check_storage(storage: StorageSettings) -> None:
    if storage.bucket == storage.key_bucket:
        raise SettingsError("storage.key_bucket must be another bucket than storage.bucket.")
    for name in ("access_key", "secret_key"):
        if getattr(storage, name).partition(":")[0] not in ("env", "file"):
            raise SettingsError(
                f"storage.{name} must be a reference: env:NAME or file:PATH.", code="settings_secret_plain"
            )
    if storage.parallel_uploads < 1 or storage.upload_kbps < 0:
        raise SettingsError("storage.parallel_uploads must be at least 1, storage.upload_kbps at least 0.")
    if not set(storage.tolerate) <= {"checksums", "conditional_writes"}:
        raise SettingsError("storage.tolerate may name checksums and conditional_writes.")


def _check_sealing(sealing: SealingSettings) -> None:
    named = [("node_key", sealing.node_key)] if sealing.node_key else []
    for name, reference in [*named, *(("identities", one) for one in sealing.identities)]:
        scheme, _, rest = reference.partition(":")
        if scheme not in KEY_SCHEMES or not rest.strip():  # what stands there may be the key itself: it is not shown
            raise SettingsError(
                f"sealing.{name} takes references: file:PATH, env:NAME, systemd:NAME or command:WORDS.",
                code="settings_secret_plain",
            )
        if scheme == "command":
            _check_words(f"sealing.{name}", rest)
    if not 0.1 <= sealing.identity_timeout_s <= 60:
        raise SettingsError("sealing.identity_timeout_s must lie between 0.1 and 60 seconds.")
    if sealing.key_cache_s > 3600 or sealing.key_cache_keys < 1:
        raise SettingsError("sealing.key_cache_s must be at most 3600 seconds, sealing.key_cache_keys at least 1.")


def _check_words(name: str, words: str) -> None:
    try:
        shlex.split(words)
    except ValueError as error:
        raise SettingsError(f"{name}: the words of a command: have a quote that does not end.") from error


def _check_storage_lock(storage: StorageSettings, retention: RetentionSettings) -> None:
    if storage.object_lock not in ("off", "governance", "compliance"):
        raise SettingsError("storage.object_lock must be off, governance or compliance.")
    if (storage.object_lock == "off") != (storage.lock_days == 0):
        raise SettingsError("storage.lock_days belongs to storage.object_lock: at least 1 with it, 0 where it is off.")
    if storage.object_lock == "compliance" and retention.max_size_bytes:
        raise SettingsError(
            "retention.max_size_bytes must be 0 where storage.object_lock is compliance: age alone counts."
        )


def _check_retention(retention: RetentionSettings) -> None:
    if not 1 <= retention.batch <= 5000 or retention.batch_pause_s > 60 or retention.preview_objects < 1:
        raise SettingsError(
            "retention.batch must lie between 1 and 5000, retention.batch_pause_s be at most 60 seconds, and"
            " retention.preview_objects at least 1."
        )
    if max(retention.event_before_s, retention.event_after_s) > 3600:
        raise SettingsError("retention.event_before_s and retention.event_after_s must be at most 3600 seconds.")


def _check_spool(spool: SpoolSettings) -> None:
    if not 0.05 <= spool.sync_interval_s <= 0.35:
        raise SettingsError("spool.sync_interval_s must lie between 0.05 and 0.35 seconds.")
    if not 0 < spool.disk_share <= 1 or not 0 < spool.alarm_share <= 1:
        raise SettingsError("spool.disk_share and spool.alarm_share must lie between 0 and 1: 0.8 is four fifths.")


def _check_recording(recording: RecordingSettings) -> None:
    if not 0.1 <= recording.part_s <= 0.5:
        raise SettingsError("recording.part_s must lie between 0.1 and 0.5 seconds.")
    if recording.object_s < 5:
        raise SettingsError("recording.object_s must be at least 5 seconds.")
    if recording.attestation not in ("required", "off"):
        raise SettingsError("recording.attestation must be required or off.")
    both = set(recording.audio_off_places) & set(recording.audio_on_places)
    if both:
        raise SettingsError(f"recording.audio_off_places and recording.audio_on_places both name {min(both)}.")


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
    if not {"record", "web"} & set(server.roles):
        raise SettingsError("server.roles must hold record, web or both.")
    if "unseal" in server.roles and "web" not in server.roles:
        raise SettingsError("server.roles: unseal needs web, for footage is opened for those who ask over it.")
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


def _check_catalogue(catalogue: CatalogueSettings) -> None:
    scheme, separator, rest = catalogue.url.partition("://")
    if catalogue.url and (not separator or scheme not in _DATABASES):
        raise SettingsError(f"catalogue.url must begin with {' or '.join(f'{name}://' for name in _DATABASES)}.")
    if ":" in rest.partition("/")[0].rpartition("@")[0] or "password=" in rest.partition("?")[2]:
        raise SettingsError(
            "catalogue.url must not hold a password: catalogue.password refers to it.", code="settings_secret_plain"
        )
    if catalogue.password and catalogue.password.partition(":")[0] not in ("env", "file"):
        raise SettingsError(
            "catalogue.password must be a reference: env:NAME or file:PATH.", code="settings_secret_plain"
        )
    if catalogue.query_timeout_s < 0 or catalogue.busy_timeout_s < 0:
        raise SettingsError("Times of catalogue must not be negative.")


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
    if not 1 <= transcode.most_playback <= 64 or transcode.playback_waiting < 1 or transcode.playback_cache_bytes < 0:
        raise SettingsError(
            "transcode.most_playback must lie between 1 and 64, transcode.playback_waiting be at least 1, "
            "transcode.playback_cache_bytes at least 0."
        )
    if transcode.nice > 19 or transcode.hang_s < 1 or transcode.backoff_first_s <= 0:
        raise SettingsError(
            "transcode.nice must be at most 19, transcode.hang_s at least 1 second, transcode.backoff_first_s above 0."
        )


def _check_export(export: ExportSettings) -> None:
    if min(export.at_once, export.most_cameras) < 1 or min(export.most_span_s, export.keep_s) < 1:
        raise SettingsError(
            "export.at_once, export.most_cameras, export.most_span_s and export.keep_s must be at least 1."
        )
    if abs(export.local_offset_min) > 14 * 60:
        raise SettingsError("export.local_offset_min must lie between -840 and 840 minutes.")


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise SettingsError(f"pull.allowed_networks: {network} is no network such as 192.168.0.0/16.") from error
