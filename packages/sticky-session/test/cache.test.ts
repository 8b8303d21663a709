import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import t from 'tap'
import { app as cached, origin as counted } from '../../cache/test/helpers.ts'
import sticky from '../src/index.ts'
import { cookiesOf, keys, origins, site } from './helpers.ts'

t.test('with @headgate/cache: what is stored carries no cookie of anybody, and what carries one is not stored', async (t) => {
  const list = await origins(t, 'ab', (name, request, response) => {
    if (request.url === '/shared') response.setHeader('cache-control', 'public, max-age=60')
    response.end(`${name} ${request.url}`)
  })
  const { url } = await site(t, list, { keys }, {}, { before: (app) => app.register(cache) })
  const reached = (): number => list.reduce((sum, { seen }) => sum + seen.length, 0)
  const shared = await fetch(`${url}/shared`)
  t.same(cookiesOf(shared), [])
  const text = await shared.text()
  for (let i = 0; i < 3; i++) {
    const again = await fetch(`${url}/shared`, { headers: { cookie: i === 2 ? 'headgate-web=anything' : '' } })
    t.equal(await again.text(), text)
    t.same(cookiesOf(again), [])
  }
  t.equal(reached(), 1, 'the others came from the cache')
  const cookies = new Set<string>()
  for (let i = 0; i < 4; i++) {
    const own = await fetch(`${url}/page`)
    await own.text()
    t.equal(own.headers.get('cache-control'), 'private')
    for (const cookie of cookiesOf(own)) cookies.add(cookie.split('.')[0]!)
  }
  t.equal(reached(), 5, 'none of these was stored')
  t.equal(cookies.size, 2, 'each client was bound on its own')
})

t.test('behind the cache: what is stored carries nobody\'s affinity; what is not, does', async (t) => {
  const fields: Record<string, string> = { 'cache-control': 'max-age=60' }
  const listener = (_request: unknown, response: { setHeader (name: string, value: string): unknown; end (body: string): unknown }): void => {
    for (const name of Object.keys(fields)) response.setHeader(name, fields[name]!)
    response.end('x')
  }
  const upstreams = [await counted(t, listener as never), await counted(t, listener as never)]
  const { app: instance } = await cached(t, {}, async (app) => {
    await app.register(balancer, { pools: { web: upstreams.map(({ url }) => url) }, routes: [{ prefix: '/', pool: 'web' }] })
    await app.register(sticky, { keys: ['a secret of more than thirty-two bytes, for this test'] })
  })
  const stored = await instance.inject('/x')
  t.match(stored.headers['cache-status'], /stored/)
  const hit = await instance.inject('/x')
  t.match(hit.headers['cache-status'], /; hit/)
  for (const response of [stored, hit]) t.equal(response.headers['set-cookie'], undefined)
  fields['cache-control'] = 'no-store'
  const own = await instance.inject('/y')
  t.match(own.headers['cache-status'], /detail=no-store/)
  const affinity = String(own.headers['set-cookie']).split(';')[0]!
  t.not(own.headers['set-cookie'], undefined, 'the client that the fetch was for has its cookie')
  const counts = upstreams.map(({ requests }) => requests.length)
  for (let i = 0; i < 10; i++) await instance.inject({ url: '/z', headers: { cookie: affinity } })
  const more = upstreams.map(({ requests }, i) => requests.length - counts[i]!)
  t.same(more.sort((a, b) => a - b), [0, 10], 'and stays where it was')
})
