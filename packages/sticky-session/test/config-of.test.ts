import Fastify, { type FastifyRequest } from 'fastify'
import t from 'tap'
import { configOf } from '../src/config-of.ts'

t.test('what Fastify says of the route, without asking it for all', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const seen: unknown[] = []
  let asked = 0
  app.addHook('onRequest', async (request) => {
    const { config } = request.routeOptions
    const { url } = request.routeOptions
    Object.defineProperty(request, 'routeOptions', { get: () => { asked++ } })
    const found = configOf(request)
    t.equal(found, config)
    t.equal(found?.url, url)
    seen.push(found?.url)
  })
  app.get('/items/:id', { config: { sticky: false } }, async () => '')
  app.get('/*', async () => '')
  const base = await app.listen({ host: '127.0.0.1', port: 0 })
  for (const path of ['/items/1', '/other', '/items/2']) await fetch(base + path)
  t.same(seen, ['/items/:id', '/*', '/items/:id'])
  t.equal(asked, 0)
})

t.test('a request without Fastify\'s internal context is asked', async (t) => {
  const config = { url: '/x', sticky: false as const }
  t.equal(configOf({ routeOptions: { config } } as unknown as FastifyRequest), config)
})
