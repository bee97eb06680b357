/** How long a person waited for a picture: from the click (or the join, where no click led to it) to the first frame. */

const CLICK_COUNTS_FOR_MS = 1500
let lastClickMs = Number.NEGATIVE_INFINITY

export function watchClicks(): void {
  document.addEventListener('click', (event) => (lastClickMs = event.timeStamp), { capture: true })
}

/**
 * Calls back once, when `video` presents its first picture after now that is the right one (`isIt`). `data-first-picture-ms` holds the
 * wait from `startedMs`, `data-click-to-picture-ms` the one from the click that led here.
 */
export function onFirstPicture(video: HTMLVideoElement, key: string, startedMs: number, then: () => void, isIt = () => true): () => void {
  const clickedMs = startedMs - lastClickMs < CLICK_COUNTS_FOR_MS ? lastClickMs : startedMs
  delete video.dataset['firstPictureMs']
  delete video.dataset['clickToPictureMs']
  const onPicture = (nowMs: number) => {
    if (!isIt()) return void (handle = video.requestVideoFrameCallback(onPicture))
    video.dataset['firstPictureMs'] = (nowMs - startedMs).toFixed(1)
    video.dataset['clickToPictureMs'] = (nowMs - clickedMs).toFixed(1)
    performance.measure(`first picture ${key}`, { start: clickedMs, end: nowMs })
    then()
  }
  let handle = video.requestVideoFrameCallback(onPicture)
  return () => video.cancelVideoFrameCallback(handle)
}
