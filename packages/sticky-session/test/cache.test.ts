import cache from '@headgate/cache'
import t from 'tap'
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
