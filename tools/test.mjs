// The whole check, as CI runs it: set-up (system packages too, where it may), lint, types, documentation, tests.
// Ends with the line "N passed, N failed". Arguments are passed on to tap (test files, for example); then only the tests run.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { build, install, root, run, tool } from './setup.mjs'
import { installSystem } from './system.mjs'

const only = process.argv.slice(2)
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
