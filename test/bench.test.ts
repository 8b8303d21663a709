import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const script = fileURLToPath(new URL('../bench/run.mjs', import.meta.url))
const bench = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', timeout: 100_000 })

interface Figures { us: number[]; rps: number[]; rss: number[] }
interface Result { scenario: string; figures: Record<string, Record<string, Figures>>; checks: { text: string }[]; versions: Record<string, string> }

t.test('one scenario, one round: figures of our proxy and of the baseline as JSON', async (t) => {
  const { status, stdout, stderr } = bench('--json', '--rounds', '1', '--seconds', '1', '--target', 'headgate', '--scenario', 'small-get')
  t.equal(status, 0, stderr)
  const [result] = JSON.parse(stdout) as [Result]
  t.equal(result.scenario, 'small-get')
  t.same(Object.keys(result.figures['']!), ['headgate', 'reply-from'])
  for (const { us, rps, rss } of Object.values(result.figures['']!)) t.ok(us.length === 1 && us[0]! > 0 && rps[0]! > 0 && rss[0]! > 0)
  t.match(result.checks[0]!.text, /headgate ≤ 0\.60 × reply-from/)
  t.equal(result.versions['Node'], process.versions.node)
})

t.test('the command line', async (t) => {
  t.match(bench('--list').stdout, /^small-get +Small GET/m)
  t.match(bench('--help').stdout, /--cpu-prof DIR/)
  const unknown = bench('nothing')
  t.equal(unknown.status, 1)
  t.match(unknown.stderr, /unknown scenario 'nothing'; there are small-get, /)
  t.match(bench('--rounds', 'x').stderr, /--rounds must be a whole number above 0/)
})
