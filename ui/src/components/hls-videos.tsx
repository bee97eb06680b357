/** Video elements that play by HLS: the live stream, and recorded footage. */
import { useEffect, useRef } from 'preact/hooks'
import { playLiveHls } from '../hls-player'
import type { PlayerState } from '../live-player'
import type { LiveStream } from '../types'
import { type RecordedOptions, RecordedPlayer } from '../recorded-player'

interface CommonProps {
  camera: string
  muted: boolean
  label: string
  videoRef: (video: HTMLVideoElement | null) => void
}

export function LiveHlsVideo(props: CommonProps & { stream: LiveStream; onState: (state: PlayerState) => void }) {
  const video = useRef<HTMLVideoElement>(null)
  useEffect(() => {
    const stop = new AbortController()
    if (video.current) void playLiveHls(video.current, props.camera, props.stream, props.onState, stop.signal)
    return () => stop.abort()
  }, [props.camera, props.stream])
  return <Picture {...props} element={video} />
}

/** `at` is a new object for each wish to go somewhere, also to where one was before. One of another stream has another key. */
export function RecordedVideo(
  props: CommonProps & Omit<RecordedOptions, 'camera' | 'onHold'> & {
    at: { ms: number }
    rate: number
    /** Set to what shows the next picture, or the one before, while there is one. */
    stepRef: { current: ((direction: 1 | -1) => void) | null }
  },
) {
  const video = useRef<HTMLVideoElement>(null)
  const still = useRef<HTMLCanvasElement>(null)
  const player = useRef<RecordedPlayer | null>(null)
  const latest = useRef(props)
  latest.current = props
  useEffect(() => {
    if (!video.current) return undefined
    const opened = new RecordedPlayer(video.current, {
      camera: props.camera,
      stream: props.stream,
      locate: (atMs) => latest.current.locate(atMs),
      onState: (state) => latest.current.onState(state),
      onClock: (wallMs) => latest.current.onClock(wallMs),
      onCaughtUp: () => latest.current.onCaughtUp(),
      onHold: (hold) => (hold ? copyPicture(video.current, still.current) : clearPicture(still.current)),
    })
    player.current = opened
    latest.current.stepRef.current = (direction) => opened.step(direction)
    return () => {
      latest.current.stepRef.current = null
      opened.close()
    }
  }, [props.camera])
  useEffect(() => void player.current?.seek(props.at.ms), [props.at])
  useEffect(() => player.current?.setRate(props.rate), [props.rate])
  return (
    <>
      <canvas ref={still} class="video still" width={0} height={0} aria-hidden="true" />
      <Picture {...props} element={video} />
    </>
  )
}

/** The picture under the video stays while the video changes from one span to the next. */
function copyPicture(video: HTMLVideoElement | null, still: HTMLCanvasElement | null): void {
  if (!video || !still) return
  still.width = video.videoWidth
  still.height = video.videoHeight
  still.getContext('2d')?.drawImage(video, 0, 0)
}

function clearPicture(still: HTMLCanvasElement | null): void {
  if (still) still.width = 0
}

function Picture(props: CommonProps & { element: { current: HTMLVideoElement | null } }) {
  return (
    <video
      ref={(element) => {
        props.element.current = element
        props.videoRef(element)
      }}
      class="video"
      data-testid="video"
      autoplay
      muted={props.muted}
      playsInline
      disablePictureInPicture
      aria-label={props.label}
    />
  )
}
