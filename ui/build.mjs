// Builds src/ into dist/: hashed assets under /assets/ and an index.html that names them.
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

const page = {
  name: 'page',
  setup(build) {
    build.onEnd(async (result) => {
      if (result.errors.length > 0) return
      const template = await readFile(path.join(root, 'index.html'), 'utf8')
      const html = template
        .replace('%SCRIPT%', assetOf(result.metafile, 'src/main.tsx'))
        .replace('%STYLE%', assetOf(result.metafile, 'src/styles/main.css'))
      await copyFile(path.join(root, 'public/favicon.svg'), path.join(root, 'dist/favicon.svg'))
      await writeFile(path.join(root, 'dist/index.html'), html)
    })
  },
}

const application = {
  absWorkingDir: root,
  entryPoints: ['src/main.tsx', 'src/styles/main.css'],
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
  plugins: [page],
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
