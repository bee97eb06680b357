"""Reason codes, each with a plain sentence in English and Vietnamese. docs/reasons.md lists when each applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a stream is not live, footage is not recorded, or a span is missing. `code` never changes meaning."""

    code: str
    sentence: str
    sentence_vi: str


_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "address_invalid": (
        "The address is neither a host nor an http:// or rtsp:// URL.",
        "Địa chỉ không phải là tên máy, URL http:// hay rtsp://.",
    ),
    "address_refused": (
        "The camera's address lies outside the networks this server may connect to.",
        "Địa chỉ camera nằm ngoài các mạng mà máy chủ được phép kết nối.",
    ),
    "name_unresolved": ("The camera's host name has no address.", "Không phân giải được tên máy của camera."),
    "host_unreachable": (
        "The camera does not answer: no power, no network, or a wrong address.",
        "Camera không trả lời: mất điện, mất mạng hoặc sai địa chỉ.",
    ),
    "port_closed": (
        "The host answers, but nothing listens on this port.",
        "Máy có trả lời nhưng cổng này không mở.",
    ),
    "credentials_wrong": (
        "The camera refused the user name or the password.",
        "Camera từ chối tên đăng nhập hoặc mật khẩu.",
    ),
    "credentials_missing": (
        "The camera asks for a user name and a password, and none is set.",
        "Camera yêu cầu tên đăng nhập và mật khẩu nhưng chưa được khai báo.",
    ),
    "onvif_failed": (
        "The camera's ONVIF service failed or answered with nonsense.",
        "Dịch vụ ONVIF của camera bị lỗi hoặc trả lời không hợp lệ.",
    ),
    "no_substream": (
        "The camera has no substream: choose its main stream, or give the substream's address.",
        "Camera không có luồng phụ: hãy chọn luồng chính hoặc khai báo địa chỉ luồng phụ.",
    ),
    "no_profile": ("The camera offers no usable media profile.", "Camera không có cấu hình hình ảnh nào dùng được."),
    "stream_not_found": (
        "The camera knows no stream of this name.",
        "Camera không có luồng hình với tên này.",
    ),
    "camera_busy": (
        "The camera has no room for another session, or is too busy.",
        "Camera đã hết phiên kết nối hoặc đang quá tải.",
    ),
    "transport_refused": (
        "The camera does not send its stream over the transport (TCP, UDP) that is set.",
        "Camera không gửi luồng hình qua kiểu truyền (TCP, UDP) đã đặt.",
    ),
    "tls_untrusted": (
        "The camera's certificate is not trusted: compare its fingerprint and pin it.",
        "Chứng chỉ của camera không được tin cậy: hãy đối chiếu và ghim dấu vân tay của nó.",
    ),
    "tls_failed": (
        "No secured connection (TLS) could be agreed upon with the camera.",
        "Không thiết lập được kết nối bảo mật (TLS) với camera.",
    ),
    "redirect_refused": (
        "The camera redirects in circles, or to what is no rtsp:// URL.",
        "Camera chuyển hướng vòng quanh hoặc tới địa chỉ không phải rtsp://.",
    ),
    "udp_ports_used": (
        "No pair of UDP ports is free for the camera's media.",
        "Không còn cặp cổng UDP trống cho luồng hình của camera.",
    ),
    "rtsp_refused": ("The camera refused the RTSP request.", "Camera từ chối yêu cầu RTSP."),
    "codec_unsupported": (
        "The stream holds no video codec that can be kept and shown: set the camera to H.264 or H.265.",
        "Luồng hình dùng chuẩn nén chưa hỗ trợ: hãy đặt camera sang H.264 hoặc H.265.",
    ),
    "interleaving_unsupported": (
        "The camera sends the pieces of its pictures out of order: switch off its interleaved mode.",
        "Camera gửi các phần của hình không theo thứ tự: hãy tắt chế độ xen kẽ (interleaved) của camera.",
    ),
    "protocol_broken": ("What the camera sends is not RTSP.", "Dữ liệu camera gửi không đúng giao thức RTSP."),
    "no_parameter_sets": (
        "The stream lacks the parameter sets (VPS, SPS, PPS) that a decoder needs.",
        "Luồng hình thiếu tham số (VPS, SPS, PPS) mà bộ giải mã cần.",
    ),
    "stalled": (
        "The camera is connected but sends no pictures.",
        "Camera vẫn kết nối nhưng không gửi hình.",
    ),
    "video_stalled": (
        "The camera sends sound but no pictures.",
        "Camera gửi âm thanh nhưng không gửi hình.",
    ),
    "redirected": (
        "The camera sent the server to another address.",
        "Camera đã chuyển máy chủ sang địa chỉ khác.",
    ),
    "camera_lost": ("The connection to the camera was lost.", "Mất kết nối với camera."),
    "camera_failed": ("The camera cannot be pulled.", "Không lấy được hình từ camera."),
    "stream_damaged": (
        "Packets were missing; pictures were dropped up to the next keyframe.",
        "Bị mất gói dữ liệu; hình bị bỏ cho đến khung khóa tiếp theo.",
    ),
    "format_changed": ("The camera changed its picture format.", "Camera đã đổi định dạng hình."),
    "clock_step": ("The server's clock was set.", "Đồng hồ máy chủ đã được chỉnh."),
    "clock_jumped": (
        "The server's clock has jumped: nothing is deleted until it is believed.",
        "Đồng hồ máy chủ vừa nhảy: tạm ngừng xóa cho đến khi tin được giờ.",
    ),
    "holds_unconfirmed": (
        "The catalogue was rebuilt or restored: nothing is deleted until somebody has confirmed the holds.",
        "Danh mục đã được dựng lại hoặc khôi phục: tạm ngừng xóa cho đến khi có người xác nhận các lệnh giữ.",
    ),
    "connecting": ("Connecting to the camera.", "Đang kết nối tới camera."),
    "waiting_keyframe": (
        "Connected, waiting for the first keyframe.",
        "Đã kết nối, đang chờ khung khóa đầu tiên.",
    ),
    "server_down": ("The server was not running.", "Máy chủ không hoạt động."),
    "spool_short": (
        "At the present rate the local disk would not hold an outage of storage for as long as spool.budget_hours.",
        "Với tốc độ hiện tại, đĩa cục bộ không đủ chỗ cho thời gian mất kho lưu trữ đã định (spool.budget_hours).",
    ),
    "spool_filling": (
        "Footage waits on the local disk and its room runs short: storage must take it, or the oldest goes.",
        "Hình ảnh đang chờ trên đĩa cục bộ và sắp hết chỗ: nếu kho lưu trữ không nhận, hình ảnh cũ nhất sẽ mất.",
    ),
    "outside_schedule": (
        "By its schedule the camera is not recorded at this time.",
        "Theo lịch ghi hình, camera không ghi vào thời gian này.",
    ),
    "no_event": (
        "The camera is recorded around events only, and there was none.",
        "Camera chỉ ghi hình khi có sự kiện và không có sự kiện nào.",
    ),
    "attestation_missing": (
        "Nobody has attested yet that the camera looks into no private room, so it is not recorded.",
        "Chưa có người cam kết camera không hướng vào nơi riêng tư nên camera chưa được ghi hình.",
    ),
    "events_unsupported": (
        "Recording around events needs an ONVIF camera: one that is given by its rtsp:// address tells no events.",
        "Ghi hình theo sự kiện cần camera ONVIF: camera khai báo bằng địa chỉ rtsp:// không báo sự kiện.",
    ),
    "not_recording": ("Recording was switched off.", "Chế độ ghi hình đã tắt."),
    "other_stream_recorded": (
        "The camera's other stream is recorded instead.",
        "Camera được ghi bằng luồng kia, không ghi luồng này.",
    ),
    "settings_changed": (
        "The camera's connection settings were changed here, and it was connected anew.",
        "Thiết lập kết nối của camera vừa được đổi trên hệ thống nên phải kết nối lại.",
    ),
    "spool_full": ("The local spool was full.", "Vùng đệm cục bộ đã đầy."),
    "spool_failed": (
        "The local spool could not be written or read.",
        "Không ghi hoặc đọc được vùng đệm cục bộ.",
    ),
    "footage_dropped": (
        "Footage was given up because the local spool was full.",
        "Đoạn ghi bị bỏ vì vùng đệm cục bộ đã đầy.",
    ),
    "footage_missing": (
        "It was recorded, and storage does not have it any more.",
        "Đã được ghi nhưng kho lưu trữ không còn giữ.",
    ),
    "no_footage": (
        "There is no footage of this time, and nothing says why: the camera was not recorded then, or it lies ahead.",
        "Không có video của khoảng thời gian này và hệ thống không ghi nhận lý do: khi đó camera không được ghi hình, "
        "hoặc thời điểm này chưa tới.",
    ),
    "footage_refused": (
        "What was stored of this time cannot be given: it was altered, or it or its key has been deleted.",
        "Không thể cung cấp dữ liệu đã lưu của khoảng thời gian này: dữ liệu đã bị thay đổi, "
        "hoặc dữ liệu hay khóa đã bị xóa.",
    ),
    "retention": ("Deleted under the retention policy.", "Đã xóa theo chính sách lưu trữ."),
    "destroyed": ("Destroyed by order, with its key.", "Đã tiêu hủy theo lệnh, cùng với khóa."),
    "camera_removed": ("The camera was removed.", "Camera đã bị gỡ."),
    "camera_disabled": ("The camera is switched off here.", "Camera đang bị tắt trên hệ thống."),
    "storage_unreachable": ("The object store is not reached.", "Không kết nối được kho lưu trữ."),
    "storage_refused": (
        "The object store refuses: check its credentials and rights.",
        "Kho lưu trữ từ chối: hãy kiểm tra tài khoản và quyền.",
    ),
    "storage_timeout": ("The object store does not answer in time.", "Kho lưu trữ không trả lời kịp thời."),
    "storage_full": ("The object store is out of space.", "Kho lưu trữ đã hết chỗ."),
    "storage_failed": ("The object store answers with errors.", "Kho lưu trữ trả lời lỗi."),
    "access_log_broken": (
        "The access log was tampered with: run mediasrv check.",
        "Nhật ký truy cập đã bị sửa: hãy chạy mediasrv check.",
    ),
    "catalogue_failed": ("The catalogue does not take entries now.", "Danh mục hiện không ghi được."),
    "credentials_unreadable": (
        "The camera's stored credentials cannot be opened with this node's key: enter them again.",
        "Không mở được tài khoản camera đã lưu bằng khóa của máy chủ này: hãy nhập lại.",
    ),
    "service_missing": ("The camera does not offer this service.", "Camera không có dịch vụ này."),
    "clock_off": (
        "The camera's clock is off by more than a second: set it, or let it take its time by NTP.",
        "Đồng hồ camera lệch hơn một giây: hãy chỉnh lại hoặc bật đồng bộ NTP.",
    ),
    "clock_not_told": ("The camera does not tell its time.", "Camera không cho biết giờ của nó."),
    "password_empty": (
        "The camera can be entered without a password: set one.",
        "Camera không cần mật khẩu cũng truy cập được: hãy đặt mật khẩu.",
    ),
    "password_default": (
        "The camera can be entered by a factory password, or by one that anybody could guess: set another.",
        "Camera dùng mật khẩu mặc định hoặc quá dễ đoán: hãy đổi mật khẩu khác.",
    ),
    "ptz_unsupported": ("The camera cannot be moved in this way.", "Camera không hỗ trợ thao tác xoay này."),
    "survey_passed": ("The camera can be linked as it is.", "Camera dùng được ngay, không cần chỉnh gì."),
    "in_service": (
        "This server pulls the camera already: it was not pulled a second time.",
        "Máy chủ đang lấy hình từ camera này rồi, nên không lấy thêm lần nữa.",
    ),
    "loss_too_high": (
        "Too many packets are lost on the way from the camera: look at cables, Wi-Fi and the line.",
        "Mất quá nhiều gói dữ liệu từ camera: hãy kiểm tra dây mạng, Wi-Fi và đường truyền.",
    ),
    "bitrate_too_high": (
        "The stream takes more of the line than one stream may: lower its bitrate at the camera.",
        "Luồng hình chiếm nhiều băng thông hơn mức cho phép: hãy giảm bitrate trên camera.",
    ),
    "line_full": (
        "The site's line has no room left for this stream beside the cameras before it.",
        "Đường truyền của điểm này không còn chỗ cho luồng hình này, sau các camera xếp trước.",
    ),
    "keyframe_missing": (
        "No keyframe came while the stream was measured: shorten the keyframe interval at the camera.",
        "Không có khung khóa nào trong lúc đo: hãy rút ngắn khoảng cách khung khóa trên camera.",
    ),
    "keyframes_rare": (
        "Keyframes are far apart: whoever opens the picture waits as long. Two seconds suit.",
        "Khung khóa cách nhau quá xa: người mở hình phải chờ lâu. Nên đặt 2 giây.",
    ),
    "h265_only": (
        "All streams are H.265, which many browsers cannot show: set the substream to H.264.",
        "Mọi luồng đều là H.265, nhiều trình duyệt không xem được: hãy đặt luồng phụ sang H.264.",
    ),
    "audio_unsupported": (
        "The sound is left out: set it to G.711, AAC or Opus if it is wanted.",
        "Âm thanh bị bỏ qua: nếu cần, hãy đặt sang G.711, AAC hoặc Opus.",
    ),
    "survey_unfinished": (
        "The survey ended before this was found out.",
        "Đợt khảo sát kết thúc trước khi có kết quả.",
    ),
    "transcoders_full": (
        "The server converts as many streams at once as it may: try again in a while, or choose the other stream.",
        "Máy chủ đang chuyển mã đủ số luồng cho phép: hãy thử lại sau hoặc chọn luồng khác.",
    ),
    "transcoder_failed": (
        "Converting the stream for this viewer failed; it begins anew.",
        "Việc chuyển mã luồng cho người xem bị lỗi và đang khởi động lại.",
    ),
    "snapshot_failed": (
        "No picture could be made of what the camera sends.",
        "Không tạo được ảnh từ dữ liệu camera gửi.",
    ),
    "snapshots_full": (
        "More still pictures are asked for than the server makes: try again in a moment.",
        "Có quá nhiều yêu cầu lấy ảnh cùng lúc: hãy thử lại sau giây lát.",
    ),
    "not_watched": ("Nobody watches this stream.", "Không có ai đang xem luồng hình này."),
    "replaced": ("Another session took over.", "Đã có phiên khác thay thế."),
}


def reason(code: str, sentence: str | None = None) -> Reason:
    """The reason of this code; `sentence` replaces the general English one where more is known.

    A code without an entry keeps its code as sentence: better odd than silent.
    """
    english, vietnamese = _SENTENCES.get(code, (code, code))
    return Reason(code, sentence or english, vietnamese)
