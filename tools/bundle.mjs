// Puts the JavaScript of each package into few files: to find, read and link hundreds of small modules takes Node longer than to run
// them. Other packages stay outside, so that there is one of each in a process. Types come from tsc, into the same folders.
// All is bundled anew each time, which takes less than a second; only what has changed is written, and what has no source any more goes.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { build } from 'esbuild'
import { root } from './setup.mjs'

/** Scripts of a package that only the workspace runs. */
const OWN_SCRIPTS = { headgate: ['./dist/config/write-schema.js'] }

/** The files of dist that others name, by the packages' own descriptions. */
function entries ({ name, exports, bin = {} }) {
  const named = Object.values(exports).flatMap((one) => one.default ?? [])
  return [...named, ...Object.values(bin), ...OWN_SCRIPTS[name] ?? []].map((path) => path.replace('./dist/', './src/').replace(/\.js$/, '.ts'))
}

const same = (path, contents) => existsSync(path) && readFileSync(path).equals(contents)

/** Whether tsc made it from a source that is still there; the dashboard's modules are its own work, types and JavaScript. */
function isFromTsc (dir, path) {
  const at = relative(join(dir, 'dist'), path)
  const stem = at.replace(/\.(d\.ts|js)(\.map)?$/, '')
  if (stem === at) return true
  if (at.startsWith('dashboard/')) return existsSync(join(dir, `${stem}.ts`))
  return /\.d\.ts(\.map)?$/.test(at) && existsSync(join(dir, 'src', `${stem}.ts`))
}

async function bundle (dir) {
  const { outputFiles } = await build({
    absWorkingDir: dir,
    entryPoints: entries(JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'))),
    outdir: 'dist',
    outbase: 'src',
    bundle: true,
    splitting: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    // They are published beside dist.
    sourcesContent: false,
    logLevel: 'warning',
    // It would be left out: the package has to name it among its `sideEffects`.
    logOverride: { 'ignored-bare-import': 'error' },
    write: false
  })
  for (const { path, contents } of outputFiles) {
    if (same(path, contents)) continue
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, contents)
  }
  const made = new Set(outputFiles.map(({ path }) => path))
  for (const entry of readdirSync(join(dir, 'dist'), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    // Another start of the demo, or a test, may do the same at this moment.
    if (entry.isFile() && !made.has(path) && !isFromTsc(dir, path)) rmSync(path, { force: true })
  }
}

// What is left of a package that another branch has is none.
const packages = readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name)).filter((dir) => existsSync(join(dir, 'package.json')))
await Promise.all(packages.map(bundle))
