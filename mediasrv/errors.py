"""Every error that leaves a part of mediasrv, with a stable `code` and the HTTP status it maps to.

    MediasrvError
    ├── SettingsError                   configuration that cannot be used
    ├── RequestError                    the caller's fault
    │   ├── InvalidRequest              400
    │   ├── NotAuthenticated            401
    │   ├── NotPermitted                403
    │   ├── NotFound                    404
    │   ├── Conflict                    409
    │   ├── PreconditionFailed          412  If-Match names what no longer is
    │   ├── PreconditionRequired        428  If-Match is missing
    │   ├── TooManyRequests             429
    │   ├── UnsupportedMediaType        415
    │   └── NotAcceptable               406  no codec, suite or transport in common
    ├── Unavailable                     503  a part that is needed is not there now
    ├── CameraError                     a camera that cannot be pulled; `code` is its reason code
    ├── ProtocolError                   bytes from the network that break their protocol
    └── FootageError                    footage that cannot be kept or read
        ├── FootageRefused              altered, truncated, swapped or signed by a stranger
        ├── KeyUnavailable              no key here opens it
        ├── SpoolFull                   the spool takes no more: `spool_full` or `spool_failed`
        └── StorageError                the object store failed, refused or was not reached
            └── StorageConflict         an object of that key with other content exists

`code` is part of the API: it never changes meaning. `sentence` is for a person and carries no secret.
"""

from __future__ import annotations

from typing import ClassVar


class MediasrvError(Exception):
    """Base of all. `code` may be narrowed per instance, `sentence` is plain English for a person."""

    default_code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, sentence: str, *, code: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code or self.default_code


class SettingsError(MediasrvError):
    default_code = "settings_invalid"


class RequestError(MediasrvError):
    default_code = "request_invalid"
    status = 400


class InvalidRequest(RequestError):
    pass


class NotAuthenticated(RequestError):
    default_code = "not_authenticated"
    status = 401


class NotPermitted(RequestError):
    default_code = "not_permitted"
    status = 403


class NotFound(RequestError):
    default_code = "not_found"
    status = 404


class NotAcceptable(RequestError):
    default_code = "not_acceptable"
    status = 406


class UnsupportedMediaType(RequestError):
    default_code = "media_type_unsupported"
    status = 415


class Conflict(RequestError):
    default_code = "conflict"
    status = 409


class PreconditionFailed(RequestError):
    default_code = "precondition_failed"
    status = 412


class PreconditionRequired(RequestError):
    default_code = "precondition_required"
    status = 428


class TooManyRequests(RequestError):
    """`retry_after_s` becomes the Retry-After header."""

    default_code = "too_many_requests"
    status = 429

    def __init__(self, sentence: str, *, code: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(sentence, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(MediasrvError):
    default_code = "unavailable"
    status = 503


class CameraError(MediasrvError):
    """A camera cannot be pulled. `code` is one of the reason codes of docs/reasons.md."""

    default_code = "camera_failed"
    status = 422


class ProtocolError(MediasrvError):
    default_code = "protocol_broken"
    status = 502


class FootageError(MediasrvError):
    default_code = "footage_failed"


class FootageRefused(FootageError):
    default_code = "footage_refused"


class KeyUnavailable(FootageError):
    default_code = "key_unavailable"
    status = 503


class SpoolFull(FootageError):
    default_code = "spool_failed"
    status = 503


class StorageError(FootageError):
    default_code = "storage_failed"
    status = 503


class StorageConflict(StorageError):
    default_code = "storage_conflict"
