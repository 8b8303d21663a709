import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readConfig } from '../src/config/read.ts'
import { build } from '../src/serve.ts'

const file = fileURLToPath(new URL('fixtures/coming-from.yaml', import.meta.url))
/** What is no option: commands, signals, and values that stand for any. */
const OTHERS = /^(headgate\b|--|NAME$)/

t.test('the options that the page for those who come from other proxies names are there, and go together', async (t) => {
  const text = readFileSync(file, 'utf8')
  const page = readFileSync(new URL('../../../docs/coming-from.md', import.meta.url), 'utf8')
  const rows = page.split('\n').filter((line) => line.startsWith('| ')).slice(1).map((line) => line.split('|').at(-2)!)
  t.ok(rows.length > 40)
  const spans = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, span]) => span!)).filter((span) => !OTHERS.test(span))
  for (const name of new Set(spans.flatMap((span) => span.match(/(?<![':\w/*-])[a-z]\w+(?=[.:=]|$|,| \{)/gi) ?? []))) if (name !== 'NAME') t.match(text, new RegExp(`\\b${name}\\b`), name)

  const folder = process.cwd()
  process.chdir(dirname(file))
  t.teardown(() => { process.chdir(folder) })
  const app = await build({ ...await readConfig(file, {}), logLevel: 'silent' })
  await app.close()
})
