/** Which of a camera's streams stands for it where. Pure. */
import type { Camera, LiveStream, Stream, StreamName } from './types'

/** The stream for a tile: the one that was chosen, or the other where that one is not there or fails. */
export function tileStream(camera: Camera): StreamName {
  const { sub } = camera.streams
  if (!sub || sub.state === 'off' || !hasSub(camera)) return 'main'
  const wished = camera.grid_stream
  const other = wished === 'sub' ? 'main' : 'sub'
  return fails(camera.streams[wished]) && camera.streams[other]?.state === 'live' ? other : wished
}

/** Whose footage is looked at first: the stream that is recorded. */
export function footageStream(camera: Camera): StreamName {
  return camera.record_stream === 'sub' ? 'sub' : 'main'
}

/** The stream that a camera is judged by: without it there is nothing to record, or to see. */
export function leadingStream(camera: Camera): Stream {
  return camera.streams[footageStream(camera)] ?? camera.streams.main
}

/** Those whose recording a person has asked for. */
export function recordedStreams(camera: Camera): Stream[] {
  const names = camera.record_stream === 'both' ? (['main', 'sub'] as const) : [camera.record_stream]
  return names.flatMap((name) => camera.streams[name] ?? [])
}

/** As far as is known: a camera that was not read yet may have one. */
export function hasSub({ profile, streams }: Camera): boolean {
  return profile ? profile.sub !== null : (streams.sub ?? { state: 'off' }).state !== 'off'
}

function fails(stream: Stream | null | undefined): boolean {
  return stream?.state === 'retrying' || (stream?.state === 'idle' && stream.reason !== null)
}

/** What a camera's own page plays unless one chooses: whatever the line carries, where there is a choice. */
export function usualStream(camera: Camera): LiveStream {
  return hasSub(camera) ? 'auto' : 'main'
}

/** Which stream pictures of this size are of; null where both are alike, or neither is known to be. */
export function streamOfSize({ streams, profile }: Camera, width: number, height: number): StreamName | null {
  const names = (['main', 'sub'] as const).filter((name) => {
    const video = streams[name]?.video ?? profile?.[name]
    return video?.width === width && video.height === height
  })
  return names.length === 1 ? (names[0] ?? null) : null
}

/** The stream whose facts stand beside the picture: that of the footage, else the one that pictures of this size are of. */
export function shownStream(camera: Camera, footageOf: StreamName | null, size: { width: number; height: number } | null): Stream {
  const name = footageOf ?? streamOfSize(camera, size?.width ?? 0, size?.height ?? 0) ?? 'main'
  return camera.streams[name] ?? camera.streams.main
}
