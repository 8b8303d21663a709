import t from 'tap'
import { Browser } from './browser.ts'
import { keys, members, origins, proxy, results, site } from './helpers.ts'

t.test('behind a route that rewrites the path, the cookie comes back where it belongs', async (t) => {
  const list = await origins(t, 'abc', (name, request, response) => { response.setHeader('set-cookie', 'own=1; Path=/v1').end(`${name} ${request.url}`) })
  const { url } = await proxy(t, {
    balancer: { pools: { shop: { upstreams: members(list), policy: 'round-robin' } }, routes: [{ prefix: '/shop', pool: 'shop', rewritePrefix: '/v1', cookiePath: '/shop' }] }
  })
  const browser = new Browser(url)
  const home = (await browser.read('/shop/cart?x=1'))[0]
  for (const path of ['/shop', '/shop/', '/shop/a/b']) t.equal((await browser.read(path))[0], home, path)
  t.match(await browser.carries('/shop/x'), [/^headgate-shop-[\da-f]{6} \/shop$/, 'own /shop'])
  t.same(await browser.carries('/v1/x'), [])
  t.same(await browser.carries('/shopping'), [])
})

t.test('two pools on one host: the cookies do not collide, and each upstream sees neither', async (t) => {
  const [web, api] = [await origins(t, 'abc'), await origins(t, 'xyz')]
  const { url, app } = await proxy(t, {
    balancer: {
      pools: { web: { upstreams: members(web), policy: 'round-robin' }, api: { upstreams: members(api), policy: 'round-robin' } },
      routes: [{ prefix: '/', rules: [{ match: { header: { 'x-api': '1' } }, pool: 'api' }, { pool: 'web' }] }, { prefix: '/api', pool: 'api' }]
    }
  })
  const seen = results(t, () => app)
  const browser = new Browser(url)
  const header = { headers: { 'x-api': '1' } }
  const homes = [await browser.read('/'), await browser.read('/', header), await browser.read('/api')]
  for (let i = 0; i < 5; i++) t.same([await browser.read('/a'), await browser.read('/b', header), await browser.read('/api/c')], homes)
  const carried = await browser.carries('/api/x')
  t.equal(new Set(carried).size, 3)
  t.same(seen.filter((result) => result !== 'hit'), ['new', 'new', 'new'])
  t.ok([...web, ...api].every(({ seen }) => seen.every(({ cookie }) => cookie === undefined || cookie === '')))
})

t.test('two routes to one pool, one inside the other, in either order', async (t) => {
  const { url, app } = await proxy(t, {
    balancer: {
      pools: { web: { upstreams: members(await origins(t, 'abcd')), policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }, { prefix: '/admin', pool: 'web' }]
    }
  })
  const seen = results(t, () => app)
  for (const order of [['/', '/admin/x'], ['/admin/x', '/']]) {
    const browser = new Browser(url)
    const homes = new Map<string, string>()
    for (const path of [...order, ...order, ...order]) {
      const there = await browser.read(path)
      t.equal(homes.get(path) ?? there, there, path)
      homes.set(path, there)
    }
  }
  t.same(seen.filter((result) => result !== 'hit'), ['new', 'new', 'new', 'new'])
})

t.test('over TLS the cookie is Secure: browsers keep it from plain connections', async (t) => {
  const { url } = await site(t, await origins(t, 'abc'), { keys }, {}, { server: { trustProxy: true } })
  const browser = new Browser(url, 'https://shop.example')
  const home = await browser.read('/')
  for (let i = 0; i < 3; i++) t.equal(await browser.read('/'), home)
  t.same((await browser.jar.getCookies('http://shop.example/')).length, 0)
  t.same((await browser.jar.getCookies('https://www.shop.example/')).length, 0, 'for this host only')
})

t.test("what was replaced is what the browser keeps: a rebound client's old cookie is gone", async (t) => {
  const { url, app } = await site(t, await origins(t, 'ab'))
  const browser = new Browser(url)
  const home = await browser.read('/')
  app.balancer.pool('web').get(home)!.health.probed(false, 'test', { rise: 1, fall: 1 })
  const next = await browser.read('/')
  app.balancer.pool('web').get(home)!.health.probed(true, 'test', { rise: 1, fall: 1 })
  for (let i = 0; i < 4; i++) t.equal(await browser.read('/'), next)
  t.equal((await browser.carries('/')).length, 1)
})
