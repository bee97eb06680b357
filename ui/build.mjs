// Builds src/ into dist/: hashed assets under /assets/ and pages that name them.
// `--watch` rebuilds on change, `--tests` bundles tests/ for node:test instead.
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as esbuild from 'esbuild'

const root = import.meta.dirname
const flags = new Set(process.argv.slice(2))

/** Finds the hashed output of one entry point in esbuild's metafile, as a URL path. */
function assetOf(metafile, entry) {
  for (const [file, output] of Object.entries(metafile.outputs)) {
    if (output.entryPoint === entry) return '/' + path.relative('dist', file).split(path.sep).join('/')
  }
  throw new Error(`the build has no output for ${entry}`)
}

/** The chunks that an entry point imports at once, as URL paths: fetched beside it instead of after it. */
function importsOf(metafile, entry, found = new Set()) {
  const file = path.join('dist', entry)
  for (const { path: imported, kind } of metafile.outputs[file]?.imports ?? []) {
    const url = '/' + path.relative('dist', imported).split(path.sep).join('/')
    if (kind !== 'import-statement' || found.has(url)) continue
    importsOf(metafile, url, found.add(url))
  }
  return found
}

/** Writes a page into dist/: its template with the hashed names of what it loads. */
async function writePage(metafile, template, script, style) {
  const main = assetOf(metafile, script)
  const preloads = [...importsOf(metafile, main)].map((url) => `<link rel="modulepreload" href="${url}">`)
  const html = (await readFile(path.join(root, template), 'utf8'))
    .replace('%SCRIPT%', main)
    .replace('%STYLE%', assetOf(metafile, style))
    .replace('%PRELOADS%', preloads.join('\n    '))
    .replace('%STATES_WORKER%', assetOf(metafile, 'src/states-worker.ts'))
  await writeFile(path.join(root, 'dist', template), html)
}

const pages = {
  name: 'pages',
  setup(build) {
    build.onEnd(async ({ errors, metafile }) => {
      if (errors.length > 0) return
      await copyFile(path.join(root, 'public/favicon.svg'), path.join(root, 'dist/favicon.svg'))
      await writePage(metafile, 'index.html', 'src/main.tsx', 'src/styles/main.css')
      await writePage(metafile, 'watch.html', 'src/watch.ts', 'src/styles/watch.css')
    })
  },
}

const application = {
  absWorkingDir: root,
  entryPoints: ['src/main.tsx', 'src/watch.ts', 'src/states-worker.ts', 'src/styles/main.css', 'src/styles/watch.css'],
  outdir: 'dist/assets',
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  charset: 'utf8',
  format: 'esm',
  target: ['es2022'],
  minify: !flags.has('--watch'),
  sourcemap: flags.has('--watch') ? 'inline' : false,
  legalComments: 'linked',
  metafile: true,
  jsx: 'automatic',
  jsxImportSource: 'preact',
  logLevel: 'info',
  plugins: [pages],
}

async function buildTests() {
  await rm(path.join(root, '../.cache/ui-tests'), { recursive: true, force: true })
  const files = (await readdir(path.join(root, 'tests'))).filter((name) => name.endsWith('.test.ts'))
  await esbuild.build({
    absWorkingDir: root,
    entryPoints: files.map((name) => `tests/${name}`),
    outdir: '../.cache/ui-tests',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
}

async function buildApplication() {
  await rm(path.join(root, 'dist'), { recursive: true, force: true })
  await mkdir(path.join(root, 'dist/assets'), { recursive: true })
  if (!flags.has('--watch')) return esbuild.build(application)
  return (await esbuild.context(application)).watch()
}

await (flags.has('--tests') ? buildTests() : buildApplication())
