"""Which profiles to pull, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mediasrv.errors import CameraError
from mediasrv.media.profile import MediaProfile
from mediasrv.onvif.values import H264, H265, OnvifDevice, PickedStreams, Service

GRID_PIXELS: Final = 704 * 576
"""A tile of a grid shows no more; a substream of this size or less is chosen where there is one."""
_NAMES: Final = {H264: "H.264", H265: "H.265"}


def pick_streams(device: OnvifDevice) -> PickedStreams:
    """Main is the largest picture, H.264 where H.265 offers no more. Sub is a smaller one that suits grids: H.264,
    since many browsers show nothing else, or H.265 beside a main in H.265 where there is no other.

    Raises CameraError: `no_profile` where no profile has video, `codec_unsupported` where none is H.264 or H.265,
    and what is wrong with the media service where that is why there are none.
    """
    with_video = [profile for profile in device.profiles if profile.codec and profile.pixels]
    usable = [profile for profile in with_video if profile.codec in _NAMES]
    if not with_video:
        raise _without_video(device)
    if not usable:
        codecs = ", ".join(sorted({profile.codec.upper() for profile in with_video}))
        raise CameraError(
            f"The camera offers {codecs} only: set one of its profiles to H.264 or H.265.", code="codec_unsupported"
        )
    main = max(usable, key=lambda profile: (profile.pixels, profile.codec == H264, profile.rate, profile.bitrate_kbps))
    sub = _pick_sub(main, usable)
    others = sorted({profile.codec.upper() for profile in with_video} - {H264.upper(), H265.upper()})
    return PickedStreams(
        main=main,
        sub=sub,
        explanation=_english(main, sub, usable, others, device.replaced_host),
        explanation_vi=_vietnamese(main, sub, usable, others, device.replaced_host),
    )


def largest_streams(device: OnvifDevice) -> tuple[MediaProfile, MediaProfile | None]:
    """Main and sub as a survey sees them: main is the largest picture there is, also in a codec that cannot be pulled;
    sub is then what `pick_streams` makes do with. Raises CameraError where there is no video at all.
    """
    with_video = [profile for profile in device.profiles if profile.codec and profile.pixels]
    if not with_video:
        raise _without_video(device)
    largest = max(with_video, key=lambda profile: profile.pixels)
    if not any(profile.codec in _NAMES for profile in with_video):
        return largest, None
    picked = pick_streams(device)
    return (picked.main, picked.sub) if picked.main.pixels >= largest.pixels else (largest, picked.main)


def _without_video(device: OnvifDevice) -> CameraError:
    for service in (Service.MEDIA2, Service.MEDIA):
        state = device.services.get(service)
        if state is not None and state.state == "failed":
            return CameraError(state.sentence, code=state.code)
    return CameraError("The camera offers no media profile with video and a stream address.", code="no_profile")


def _pick_sub(main: MediaProfile, usable: Sequence[MediaProfile]) -> MediaProfile | None:
    smaller = [profile for profile in usable if profile.pixels < main.pixels and profile.url != main.url]
    chosen = _smaller_one(main, [profile for profile in smaller if profile.codec == H264])
    if chosen is None and main.codec == H265:
        return _smaller_one(main, smaller)
    return chosen


def _smaller_one(main: MediaProfile, smaller: Sequence[MediaProfile]) -> MediaProfile | None:
    for_grids = [profile for profile in smaller if profile.pixels <= GRID_PIXELS]
    if for_grids:
        return max(for_grids, key=lambda profile: (profile.pixels, -profile.bitrate_kbps))
    # Nothing fits a tile: the smallest still spares the network if it is half of main or less.
    smallest = min(smaller, key=lambda profile: (profile.pixels, profile.bitrate_kbps), default=None)
    return smallest if smallest is not None and 2 * smallest.pixels <= main.pixels else None


def _describe(profile: MediaProfile, a_second: str) -> str:
    rate = f" {profile.rate:g}{a_second}" if profile.rate else ""
    return f"{profile.name} ({_NAMES[profile.codec]} {profile.width}x{profile.height}{rate})"


def _english(
    main: MediaProfile, sub: MediaProfile | None, usable: Sequence[MediaProfile], others: list[str], replaced: str
) -> str:
    largest = "the only profile with video" if len(usable) == 1 else f"the largest of {len(usable)} profiles"
    sentences = [f"Main is {_describe(main, '/s')}, {largest}."]
    if _same_in_h265(main, usable):
        sentences.append("H.265 of the same size is left out: every browser shows H.264.")
    if sub is None:
        sentences.append("There is no smaller profile that would serve grids, so there is no substream.")
    else:
        sentences.append(f"Sub is {_describe(sub, '/s')}, a smaller one for grids and weak lines.")
    if main.codec == H265:
        sentences.append(
            "Many browsers cannot show H.265."
            if sub is None or sub.codec == H265
            else "Many browsers cannot show H.265: there, the substream is what people watch live."
        )
    if others:
        sentences.append(f"Profiles in {', '.join(others)} are left out.")
    if replaced:
        sentences.append(f"The camera calls itself {replaced}, which cannot be reached; its address is used instead.")
    return " ".join(sentences)


def _vietnamese(
    main: MediaProfile, sub: MediaProfile | None, usable: Sequence[MediaProfile], others: list[str], replaced: str
) -> str:
    largest = "cấu hình hình ảnh duy nhất" if len(usable) == 1 else f"lớn nhất trong {len(usable)} cấu hình"
    sentences = [f"Luồng chính là {_describe(main, ' hình/giây')}, {largest}."]
    if _same_in_h265(main, usable):
        sentences.append("Bỏ qua H.265 cùng kích thước: mọi trình duyệt đều xem được H.264.")
    if sub is None:
        sentences.append("Không có cấu hình nhỏ hơn phù hợp cho lưới hình, nên không có luồng phụ.")
    else:
        sentences.append(f"Luồng phụ là {_describe(sub, ' hình/giây')}, nhỏ hơn, cho lưới hình và đường truyền yếu.")
    if main.codec == H265:
        sentences.append(
            "Nhiều trình duyệt không xem được H.265."
            if sub is None or sub.codec == H265
            else "Nhiều trình duyệt không xem được H.265: khi đó luồng phụ được dùng để xem trực tiếp."
        )
    if others:
        sentences.append(f"Bỏ qua các cấu hình {', '.join(others)}.")
    if replaced:
        sentences.append(f"Camera tự báo địa chỉ {replaced} không kết nối được, nên dùng địa chỉ đã nhập.")
    return " ".join(sentences)


def _same_in_h265(main: MediaProfile, usable: Sequence[MediaProfile]) -> bool:
    return main.codec == H264 and any(one.codec == H265 and one.pixels == main.pixels for one in usable)
