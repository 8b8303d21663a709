// The whole check, as CI runs it: set-up (system packages too, where it may), lint, types, documentation, tests.
// Ends with the line "N passed, N failed". Arguments are passed on to tap (test files, folders of them, or options); then only the
// tests run.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { build, install, root, run, tool } from './setup.mjs'
import { installSystem } from './system.mjs'

/** Of a folder, only what is a test by its name: tap would run its helpers as well. */
function testsIn (path) {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path]
  const tests = readdirSync(path, { recursive: true }).filter((file) => file.endsWith('.test.ts') && !/(^|[\\/])(node_modules|dist)[\\/]/.test(file))
  if (tests.length === 0) throw new Error(`there are no tests in ${path}`)
  return tests.map((file) => join(path, file))
}

const only = process.argv.slice(2).flatMap(testsIn)
install()
build()
if (only.length === 0) {
  installSystem()
  run(tool('oxlint'), [])
  run(tool('tsc'), ['-p', 'tsconfig.test.json'])
  run(tool('tsc'), ['-p', 'test/types'])
}

const results = join(root, '.tap', 'results.tap')
mkdirSync(join(root, '.tap'), { recursive: true })
const { status } = spawnSync(tool('tap'), ['--reporter=terse', `--jobs=${Math.min(availableParallelism(), 4)}`, `--output-file=${results}`, ...only], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })

// tap closes with "# { total: 12, pass: 10, fail: 1, skip: 1 }"; the counts are taken from there, never guessed.
const counts = readFileSync(results, 'utf8').match(/^# \{ total: .*\}$/gm)?.at(-1) ?? ''
const count = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(counts)?.[1] ?? 0)
// The terse reporter's screen may be lost where output is only captured: say once more, in plain lines, what failed.
for (const [line] of readFileSync(results, 'utf8').matchAll(/^ *not ok .*$/gm)) console.log(line)
const failed = count('fail') || (status === 0 ? 0 : 1)
console.log(`${count('pass')} passed, ${failed} failed${count('skip') ? `, ${count('skip')} skipped` : ''}`)
process.exit(status === 0 && failed === 0 && count('pass') > 0 ? 0 : 1)
