"""Which profiles to pull, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mediasrv.errors import CameraError
from mediasrv.onvif.values import H264, OnvifDevice, OnvifProfile, PickedStreams

GRID_PIXELS: Final = 704 * 576
"""A tile of a grid shows no more; a substream of this size or less is chosen where there is one."""


def pick_streams(device: OnvifDevice) -> PickedStreams:
    """Main is the largest H.264 profile, sub a smaller one that suits grids, if there is any.

    Raises CameraError: `no_profile` where no profile has video, `codec_unsupported` where none is H.264.
    """
    with_video = [profile for profile in device.profiles if profile.codec and profile.pixels]
    usable = [profile for profile in with_video if profile.codec == H264]
    if not with_video:
        raise CameraError("The camera offers no media profile with video and a stream address.", code="no_profile")
    if not usable:
        codecs = ", ".join(sorted({profile.codec.upper() for profile in with_video}))
        raise CameraError(
            f"The camera offers {codecs} only: set one of its profiles to H.264.", code="codec_unsupported"
        )
    main = max(usable, key=lambda profile: (profile.pixels, profile.rate, profile.bitrate_kbps))
    sub = _pick_sub(main, usable)
    others = sorted({profile.codec.upper() for profile in with_video} - {H264.upper()})
    return PickedStreams(
        main=main,
        sub=sub,
        explanation=_english(main, sub, len(usable), others, device.replaced_host),
        explanation_vi=_vietnamese(main, sub, len(usable), others, device.replaced_host),
    )


def _pick_sub(main: OnvifProfile, usable: Sequence[OnvifProfile]) -> OnvifProfile | None:
    smaller = [profile for profile in usable if profile.pixels < main.pixels and profile.url != main.url]
    for_grids = [profile for profile in smaller if profile.pixels <= GRID_PIXELS]
    if for_grids:
        return max(for_grids, key=lambda profile: (profile.pixels, -profile.bitrate_kbps))
    # Nothing fits a tile: the smallest still spares the network if it is half of main or less.
    smallest = min(smaller, key=lambda profile: (profile.pixels, profile.bitrate_kbps), default=None)
    return smallest if smallest is not None and 2 * smallest.pixels <= main.pixels else None


def _describe(profile: OnvifProfile, a_second: str) -> str:
    rate = f" {profile.rate:g}{a_second}" if profile.rate else ""
    return f"{profile.name} (H.264 {profile.width}x{profile.height}{rate})"


def _english(main: OnvifProfile, sub: OnvifProfile | None, count: int, others: list[str], replaced: str) -> str:
    largest = "the only H.264 profile" if count == 1 else f"the largest of {count} H.264 profiles"
    sentences = [f"Main is {_describe(main, '/s')}, {largest}."]
    if sub is None:
        sentences.append("There is no smaller H.264 profile that would serve grids, so there is no substream.")
    else:
        sentences.append(f"Sub is {_describe(sub, '/s')}, a smaller one for grids and weak lines.")
    if others:
        sentences.append(f"Profiles in {', '.join(others)} are left out.")
    if replaced:
        sentences.append(f"The camera calls itself {replaced}, which cannot be reached; its address is used instead.")
    return " ".join(sentences)


def _vietnamese(main: OnvifProfile, sub: OnvifProfile | None, count: int, others: list[str], replaced: str) -> str:
    largest = "cấu hình H.264 duy nhất" if count == 1 else f"lớn nhất trong {count} cấu hình H.264"
    sentences = [f"Luồng chính là {_describe(main, ' hình/giây')}, {largest}."]
    if sub is None:
        sentences.append("Không có cấu hình H.264 nhỏ hơn phù hợp cho lưới hình, nên không có luồng phụ.")
    else:
        sentences.append(f"Luồng phụ là {_describe(sub, ' hình/giây')}, nhỏ hơn, cho lưới hình và đường truyền yếu.")
    if others:
        sentences.append(f"Bỏ qua các cấu hình {', '.join(others)}.")
    if replaced:
        sentences.append(f"Camera tự báo địa chỉ {replaced} không kết nối được, nên dùng địa chỉ đã nhập.")
    return " ".join(sentences)
