import { readFileSync } from 'node:fs'
import { balancerSchema } from '@headgate/balancer'
import * as balancerErrors from '@headgate/balancer'
import * as core from '@headgate/core'
import { dispatcherSchema } from '../packages/balancer/src/dispatcher/options.ts'
import { help } from '../packages/headgate/src/options.ts'
import t from 'tap'

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

interface Schema { readonly properties?: Record<string, Schema>; readonly items?: Schema; readonly anyOf?: readonly Schema[] }

/** Names of all options in a schema, at any depth. */
function names (schema: Schema): string[] {
  return [
    ...Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => [name, ...names(inner)]),
    ...schema.items === undefined ? [] : names(schema.items), ...(schema.anyOf ?? []).flatMap(names)
  ]
}

/** What is not in code font anywhere in a text; as `a.b` counts for `b`. */
function missing (wanted: readonly string[], text: string): string[] {
  return [...new Set(wanted)].filter((name) => !new RegExp(`\`[^\`\n]*(?<![\\w-])${name}(?![\\w])[^\`\n]*\``).test(text))
}

const codes = (exported: object): string[] => Object.values(exported).flatMap((value: unknown) => {
  if (typeof value !== 'function' || !value.name.endsWith('Error')) return []
  const { code } = new (value as new () => { code?: string })()
  return code?.startsWith('HG_') === true ? [code] : []
})

t.test('every option, error, policy and flag is in the documentation', async (t) => {
  const coreText = read('packages/core/README.md')
  const balancerText = read('packages/balancer/README.md')
  const discoveryText = read('docs/discovery.md')
  t.same(missing(names(core.poolSchema as Schema), coreText + discoveryText), [], "options of core's pools")
  t.same(missing(names(balancerSchema as Schema), balancerText), [], 'options of the balancer')
  t.same(missing(Object.keys((dispatcherSchema as Schema).properties!), balancerText.split('## As a dispatcher')[1]!.split('\n## ')[0]!), [], 'options of a dispatcher')
  t.same(missing([...codes(balancerErrors), ...codes(core)], balancerText), [], 'errors')
  for (const [type, { properties }] of Object.entries(core.discoveries)) t.same(missing(Object.keys(properties), discoveryText.split(`## ${type}\n`)[1]!.split('\n## ')[0]!), [], `options of ${type}`)
  t.same(missing(Object.keys(core.policies), read('docs/pools-and-policies.md')), [], 'policies')
  t.same(missing([...help.matchAll(/^ {2}(--[\w-]+)/gm)].map(([, flag]) => flag!), read('packages/headgate/README.md')), [], 'flags')
})

t.test('links of the documentation lead somewhere', async (t) => {
  const files = ['README.md', ...['quick-start', 'pools-and-policies', 'composing', 'faq', 'run-time-changes', 'health', 'discovery', 'geography'].map((name) => `docs/${name}.md`),
    ...['core', 'balancer', 'headgate'].map((name) => `packages/${name}/README.md`)]
  for (const file of files) {
    for (const [, link] of read(file).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
      const target = new URL(link!, new URL(`../${file}`, import.meta.url))
      t.doesNotThrow(() => { if (!/\/$|\.\w+$/.test(target.pathname)) return; readFileSync(target) }, `${file}: ${link!}`)
    }
  }
})
