/** A video element that plays a camera live by WHEP while it is on the page. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { Alarm } from '../backoff'
import { JoinGate } from '../join-gate'
import { type PlayerState, playLive } from '../live-player'
import type { LiveStream, Stream } from '../types'

/** Shared by all tiles of the page, as many as a browser has connections; the camera page does not queue behind it. */
const wallGate = new JoinGate(6)

interface LiveVideoProps {
  camera: string
  streamName: LiveStream
  /** The one whose state says whether pictures are to be expected. */
  stream: Stream
  audio: boolean
  muted: boolean
  queued: boolean
  label: string
  poster?: string | undefined
  onState: (state: PlayerState) => void
  videoRef?: (video: HTMLVideoElement | null) => void
}

export function LiveVideo(props: LiveVideoProps) {
  const video = useRef<HTMLVideoElement>(null)
  const [state, setState] = useState<PlayerState['kind']>('connecting')
  const expected = useRef(true)
  expected.current = props.stream.state === 'live' || props.stream.state === 'idle'
  const alarm = useRef(new Alarm())
  // a stream that comes back is joined at once instead of after the rest of the back-off
  useEffect(() => {
    if (expected.current) alarm.current.ring()
  }, [expected.current])
  // before the browser paints: the join need not wait for it
  useLayoutEffect(() => {
    const element = video.current
    if (!element) return undefined
    const stop = new AbortController()
    const options = {
      camera: props.camera,
      stream: props.streamName,
      audio: props.audio,
      expectsPictures: () => expected.current,
      alarm: alarm.current,
      onState: (next: PlayerState) => {
        setState(next.kind)
        props.onState(next)
      },
    }
    void playLive(element, props.queued ? { ...options, gate: wallGate } : options, stop.signal)
    return () => {
      stop.abort()
      element.srcObject = null
    }
  }, [props.camera, props.streamName, props.audio])
  return (
    <video
      ref={(element) => {
        video.current = element
        props.videoRef?.(element)
      }}
      class="video"
      data-testid="video"
      data-player={state}
      autoplay
      muted={props.muted}
      playsInline
      disablePictureInPicture
      poster={props.poster}
      aria-label={props.label}
    />
  )
}
