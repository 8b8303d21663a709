import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import t from 'tap'
import cache, { cacheSchema, unkeyedFields } from '../src/index.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

t.test('the README names every option', async (t) => {
  const names = Object.keys(cacheSchema['properties'] as object)
  for (const name of names) t.ok(readme.includes(`\`${name}\``), name)
})

t.test("the README's example runs", async (t) => {
  const code = /```ts\n([^]*?)```/.exec(readme)![1]!.replace(/^import .*\n/gm, '')
  const app = Fastify()
  t.teardown(() => app.close())
  const AsyncFunction = (async () => {}).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>
  await new AsyncFunction('app', 'cache', code)(app, cache)
  for (const url of ['/news', '/prices']) {
    await app.inject(url)
    t.match((await app.inject(url)).headers['cache-status'], /; hit/, url)
  }
})

t.test('the list of fields against poisoning is documented whole', async (t) => {
  const page = readFileSync(new URL('../../../docs/caching.md', import.meta.url), 'utf8').toLowerCase()
  for (const name of unkeyedFields) {
    const short = name.startsWith('x-forwarded-') ? name.slice('x-forwarded'.length) : name
    t.ok(page.includes(`\`${short}\``) || page.includes(`\`${name}\``), name)
  }
})
