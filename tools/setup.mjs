// Installs and builds what is missing, and nothing else: a second run takes a fraction of a second.
// Needs Node and npm only; pnpm comes through npx, since a pinned packageManager breaks --frozen-lockfile.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** Runs a command at the root with its output shown (on stderr, so that stdout stays the caller's); throws when it fails. */
export function run (command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options })
  if (error) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with status ${status}`)
}

/** Path of a tool that the workspace installed. */
export const tool = (name) => join(root, 'node_modules', '.bin', name)

export function install () {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 18)) throw new Error(`Headgate needs Node 20.18 or newer; this is ${process.version}`)
  const stamp = join(root, 'node_modules', '.headgate-setup')
  const wanted = createHash('sha256').update(readFileSync(join(root, 'pnpm-lock.yaml'))).update(process.version).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  run('npx', ['-y', 'pnpm@12', 'install', '--frozen-lockfile'])
  writeFileSync(stamp, wanted)
}

export function build () {
  run(tool('tsc'), ['-b'])
  run(process.execPath, ['tools/bundle.mjs'])
  // Made from the schemas of all packages' options, so that no change of an option can leave it behind.
  run(process.execPath, ['packages/headgate/dist/config/write-schema.js'])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  install()
  build()
}
