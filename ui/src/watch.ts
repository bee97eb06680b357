/**
 * `/watch/{camera}`: one camera over the whole window, for a link and for other systems' pages. Small, so that the join
 * is under way before anything else is fetched: words, and HLS, come when they are needed.
 */
import { ApiError, whepUrl } from './api'
import { Alarm } from './backoff'
import { exposeConnections } from './connections'
import { watchClicks } from './first-picture'
import type { Translator } from './i18n'
import { type PlayerState, playLive } from './live-player'
import { hlsCanBring, type Trouble, troubleOf } from './live-source'
import { loginFor, parseWatch, wantsSound } from './watch-options'
import { joinAhead } from './whep'

const options = parseWatch(location.pathname, location.search)
const joined = options.camera ? joinAhead(whepUrl(options.camera, options.stream), wantsSound(options)) : Promise.resolve()
const words: Promise<Translator> = joined.then(() => import('./i18n')).then((i18n) => {
  i18n.initLanguage(options.language)
  return i18n.currentTexts()
})

function element<K extends keyof HTMLElementTagNameMap>(name: K, id: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(name)
  made.id = id
  return made
}

function makeVideo(): HTMLVideoElement {
  const video = element('video', 'video')
  video.dataset['testid'] = 'video'
  video.autoplay = video.playsInline = true
  video.muted = options.muted
  video.controls = options.controls
  return video
}

const isFramed = window.top !== window

class WatchPage {
  readonly #video = makeVideo()
  readonly #overlay = element('div', 'overlay')
  readonly #alarm = new Alarm()
  #stop = new AbortController()

  async show(): Promise<void> {
    this.#overlay.setAttribute('role', 'status')
    document.body.append(this.#video, this.#overlay)
    const t = words.then((texts) => texts.t)
    if (!options.camera) return this.#say((await t)('watch.noCamera'))
    document.title = this.#video.ariaLabel = (await t)('watch.title', { camera: options.camera })
  }

  play(camera: string): void {
    this.#state('webrtc', { kind: 'connecting' })
    const playing = {
      camera,
      stream: options.stream,
      audio: wantsSound(options),
      expectsPictures: () => true,
      alarm: this.#alarm,
      onState: (state: PlayerState) => void this.#onWebRtc(camera, state),
    }
    void playLive(this.#video, playing, this.#stop.signal)
    // where a browser lets nothing be heard before a click, the picture comes first
    this.#video.addEventListener('loadedmetadata', () => void this.#keepMoving(), { once: true })
  }

  async #onWebRtc(camera: string, state: PlayerState): Promise<void> {
    this.#state('webrtc', state)
    if (state.kind !== 'retrying' || !hlsCanBring(state.error)) return
    this.#stop.abort()
    this.#stop = new AbortController()
    this.#video.srcObject = null
    const { playLiveHls } = await import('./hls-player')
    const onState = (next: PlayerState) => this.#state('hls', next)
    await playLiveHls(this.#video, camera, options.stream, onState, this.#stop.signal)
  }

  #state(source: 'webrtc' | 'hls', state: PlayerState): void {
    document.body.dataset['source'] = source
    document.body.dataset['player'] = state.kind
    const trouble = troubleOf(state)
    document.body.dataset['overlay'] = trouble ? 'words' : state.kind
    if (!trouble) return this.#overlay.replaceChildren()
    void words.then((texts) => this.#explain(texts, trouble))
  }

  #explain({ t, explain }: Translator, { text, error }: Trouble): void {
    if (error instanceof ApiError && error.status === 401) return this.#askForLogin(t)
    this.#say(t(text), error ? explain(error) : '')
  }

  /** In a frame nobody types a password: who framed it would be trusted with it. */
  #askForLogin(t: Translator['t']): void {
    const url = loginFor(location.pathname, location.search)
    if (!isFramed) return location.replace(url)
    const link = element('a', 'login')
    link.href = url
    link.target = '_blank'
    link.textContent = t('watch.login')
    this.#say(t('watch.loginFramed'))
    this.#overlay.append(link)
    // whoever comes back from there has logged in, perhaps
    addEventListener('focus', () => this.#alarm.ring(), { once: true })
  }

  #say(text: string, why = ''): void {
    document.body.dataset['overlay'] = 'words'
    const lines = [text, why].filter(Boolean).map((line) => {
      const paragraph = document.createElement('p')
      paragraph.textContent = line
      return paragraph
    })
    this.#overlay.replaceChildren(...lines)
  }

  async #keepMoving(): Promise<void> {
    const refused = await this.#video.play().then(
      () => false,
      (error: unknown) => error instanceof DOMException && error.name === 'NotAllowedError',
    )
    if (!refused) return
    this.#video.muted = true
    void this.#video.play().catch(() => undefined)
    const button = element('button', 'sound')
    button.textContent = (await words).t('watch.sound')
    button.onclick = () => {
      this.#video.muted = false
      button.remove()
    }
    document.body.append(button)
  }
}

function begin(): void {
  exposeConnections()
  watchClicks()
  const page = new WatchPage()
  void page.show()
  if (options.camera) page.play(options.camera)
}

if (document.body) begin()
else addEventListener('DOMContentLoaded', begin)
