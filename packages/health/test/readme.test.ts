import { readFileSync } from 'node:fs'
import balancer from '@headgate/balancer'
import fastify from 'fastify'
import t from 'tap'
import health, { healthSchema } from '../src/index.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | boolean
  readonly anyOf?: readonly Schema[]
}

/** The names of all options, however deep. */
function names (schema: Schema, into: Set<string> = new Set()): Set<string> {
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    into.add(name)
    names(inner, into)
  }
  for (const branch of schema.anyOf ?? []) names(branch, into)
  if (typeof schema.additionalProperties === 'object') names(schema.additionalProperties, into)
  return into
}

t.test('the README names every option and every state', async (t) => {
  for (const name of names(healthSchema as Schema)) t.match(readme, new RegExp(`\`(?:\\w+\\.)?${name}[\`:.]`), name)
  for (const state of ['up', 'degraded', 'ejected', 'down', 'draining', 'maintenance']) t.match(readme, `| \`${state}\` |`)
})

t.test("the README's example runs", async (t) => {
  const [, code] = /```ts\n([^]*?)```/.exec(readme) ?? []
  const app = fastify()
  t.teardown(() => app.close())
  const body = code!.replace(/^import .*\n/gm, '').replace(/10\.0\.0\.(\d):3000/g, '127.0.0.1:$1')
  const AsyncFunction = (async () => {}).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>
  await new AsyncFunction('app', 'balancer', 'health', body)(app, balancer, health)
  t.same((await app.inject('/livez')).json(), { status: 'live' })
  t.equal((await app.inject('/health/upstreams')).statusCode, 200)
})
