import { readFileSync } from 'node:fs'
import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import stickySession from '../src/index.ts'
import { kinds } from '../src/kinds/index.ts'
import { cookiesOf, keys, origins } from './helpers.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

/** As it stands in the README, line by line. */
async function example (app: FastifyInstance, upstreams: string[], secret: string): Promise<void> {
  await app.register(balancer, { pools: { web: upstreams }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.register(stickySession, { keys: [secret] })
}

t.test("the README's example", async (t) => {
  const app = Fastify() as FastifyInstance
  t.teardown(() => app.close())
  const upstreams = (await origins(t, 'ab')).map(({ url }) => url)
  await example(app, upstreams, keys[0]!)
  const lines = example.toString().split('\n').slice(1, -1).map((line) => line.trim())
  for (const line of lines) t.ok(readme.includes(`\n${line}\n`), line)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const first = await fetch(url)
  const home = await first.text()
  for (let i = 0; i < 4; i++) t.equal(await (await fetch(url, { headers: { cookie: cookiesOf(first)[0]! } })).text(), home)
})

t.test('the README names every kind and every option', async (t) => {
  for (const [name, { properties }] of Object.entries(kinds)) {
    t.ok(readme.includes(`\`${name}\``), name)
    for (const option of Object.keys(properties)) t.ok(readme.includes(`\`${option}\``), `${name}: ${option}`)
  }
})
