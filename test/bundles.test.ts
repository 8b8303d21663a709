import { execFile } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const root = fileURLToPath(new URL('..', import.meta.url))
const packages = readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name))

/** Without the loaders that tap adds to the environment: esbuild and the packages run as they do for everybody. */
const node = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)('env', ['-i', `PATH=${process.env['PATH']}`, process.execPath, ...args], { cwd: root })).stdout

const files = (dir: string, ending: string): string[] =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(ending)).map((name) => join(dir, name))

/** A package's JavaScript, less the dashboard's, which browsers load. */
const scripts = (dir: string): string[] => files(join(dir, 'dist'), '.js').filter((path) => !path.startsWith(join(dir, 'dist', 'dashboard')))

t.test('what a package names is there, in few files', async (t) => {
  for (const dir of packages) {
    const { name, exports, bin = {} } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as {
      name: string
      exports: Record<string, string | Record<string, string>>
      bin?: Record<string, string>
    }
    const named = [...Object.values(exports), bin].flatMap((one) => typeof one === 'string' ? one : Object.values(one))
    t.same(named.filter((path) => !existsSync(join(dir, path))), [], name)
    t.ok(scripts(dir).length < 30, `${name}: ${scripts(dir).length} files`)
  }
})

t.test('errors are called what they are called in the sources: logs tell by that what kind they are', async (t) => {
  const kinds = (paths: string[]): Set<string> => new Set(paths.flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/(?:(\w+) = )?class (?:(?!extends)(\w+) )?extends \w*Error\b/g)].map(([, outer, own]) => own ?? outer!)))
  const built = kinds(packages.flatMap(scripts))
  t.ok(built.size > 5)
  t.same([...built].sort(), [...kinds(packages.flatMap((dir) => files(join(dir, 'src'), '.ts')))].sort())
})

t.test('what has no source any more goes; what has not changed is not written', async (t) => {
  const dist = join(root, 'packages/core/dist')
  const written = statSync(join(dist, 'index.js')).mtimeMs
  const left = ['left-over.js', 'left-over.js.map', 'left-over.d.ts'].map((name) => join(dist, name))
  for (const path of left) writeFileSync(path, '')
  await node('tools/bundle.mjs')
  t.same(left.filter((path) => existsSync(path)), [])
  t.equal(statSync(join(dist, 'index.js')).mtimeMs, written)
  t.ok(existsSync(join(dist, 'index.d.ts')))
})

t.test('what reads answers of name servers is not loaded before one is asked', async (t) => {
  const loaded = await node('--input-type=module', '-e', `
    import { createRequire } from 'node:module'
    await import('${join(root, 'packages/core/dist/index.js')}')
    console.log(Object.keys(createRequire(import.meta.url).cache).join('\\n'))`)
  t.match(loaded, /node_modules\/ajv\//)
  t.notMatch(loaded, /dns-packet/)
})
