#!/bin/sh
# The tests talk to peers that are no Python packages. As root they are installed from Debian's
# packages; otherwise one sentence says what is missing.
set -eu
missing=""
need() { # need PROGRAM PACKAGE...
    program=$1
    shift
    command -v "$program" >/dev/null 2>&1 || missing="$missing $*"
}
need chromium chromium
need ffprobe ffmpeg
# Links between network namespaces (tests/lab), where they can be made at all. Some lie where only root looks.
PATH=$PATH:/usr/sbin:/sbin
if [ "$(id -u)" = 0 ]; then
    need ip iproute2
    need nft nftables
    need ethtool ethtool
fi
if ! /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' >/dev/null 2>&1; then
    missing="$missing python3-gi gir1.2-gst-rtsp-server-1.0"
fi
if ! /usr/bin/python3 -c 'import gi; gi.require_version("GstWebRTC", "1.0")' >/dev/null 2>&1; then
    missing="$missing python3-gi gir1.2-gst-plugins-bad-1.0"
fi
for element in webrtcbin nicesrc opusdec rtspsrc rtph265depay h265parse x264enc avdec_h265; do
    if ! gst-inspect-1.0 "$element" >/dev/null 2>&1; then
        missing="$missing gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        missing="$missing gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-nice"
        break
    fi
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the tests' peers:$missing ..."
    apt-get update -qq
    # shellcheck disable=SC2086 - a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "The tests need these Debian packages: apt-get install$missing" >&2
    exit 1
fi
