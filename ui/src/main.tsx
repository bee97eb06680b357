import { render } from 'preact'
import { App } from './app'
import { exposeConnections } from './connections'
import { watchClicks } from './first-picture'
import { initLanguage } from './i18n'

initLanguage()
exposeConnections()
watchClicks()
const root = document.getElementById('app')
if (root) render(<App />, root)
