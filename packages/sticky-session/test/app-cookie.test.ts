import type { IncomingMessage, ServerResponse } from 'node:http'
import t from 'tap'
import type { StickyOptions } from '../src/index.ts'
import { FakeClock, keys, type Origin, origins, results, site } from './helpers.ts'

/** Applications with sessions of their own: each knows only those that it made. */
function apps (t: Parameters<typeof origins>[0], names: string): Promise<Origin[]> {
  let next = 0
  const known = new Map<string, string>()
  return origins(t, names, (name, request: IncomingMessage, response: ServerResponse) => {
    const id = /(?:^|; )sid=([^;]*)/.exec(request.headers.cookie ?? '')?.[1]
    const mine = id !== undefined && known.get(id) === name
    if (request.url === '/login') {
      const made = `s${++next}`
      known.set(made, name)
      response.setHeader('set-cookie', [`sid=${made}; Path=/; HttpOnly`, 'theme=dark'])
    } else if (request.url === '/logout') {
      if (mine) known.delete(id)
      response.setHeader('set-cookie', 'sid=; Path=/; Max-Age=0')
    }
    response.end(`${name} ${mine ? id : 'stranger'}`)
  })
}

class Browser {
  readonly jar = new Map<string, string>()
  readonly url: string
  constructor (url: string) { this.url = url }

  async go (path: string): Promise<string> {
    const response = await fetch(this.url + path, { headers: { cookie: [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ') } })
    for (const field of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]*)=([^;]*)/.exec(field)!
      if (value === '') this.jar.delete(name!)
      else this.jar.set(name!, value!)
    }
    return response.text()
  }
}

for (const mode of ['learn', 'prefix'] as const) {
  t.test(`${mode}: the application's session is found again, and the application sees its own value`, async (t) => {
    const list = await apps(t, 'abc')
    const { url, app } = await site(t, list, { keys, by: 'app-cookie', name: 'sid', mode })
    const seen = results(t, () => app)
    const browsers = Array.from({ length: 5 }, () => new Browser(url))
    const homes = []
    for (const browser of browsers) homes.push((await browser.go('/login'))[0])
    t.ok(new Set(homes).size > 1)
    for (let round = 0; round < 5; round++) {
      for (const [i, browser] of browsers.entries()) t.equal(await browser.go('/'), `${homes[i]} s${i + 1}`)
    }
    t.equal(seen.filter((result) => result === 'hit').length, 25)
    for (const browser of browsers) {
      if (mode === 'learn') t.match(browser.jar.get('sid'), /^s\d$/)
      else t.match(browser.jar.get('sid'), /^[\w-]{12}\.[A-Za-z\d+/]{43}~s\d$/)
      t.equal(browser.jar.get('theme'), 'dark')
    }
    t.notOk(list.some(({ seen }) => seen.some(({ cookie }) => cookie?.includes('~'))))
  })

  t.test(`${mode}: a new session id belongs to who gave it; after a log-out nothing is left`, async (t) => {
    const { url, app } = await site(t, await apps(t, 'ab'), { keys, by: 'app-cookie', name: 'sid', mode })
    const browser = new Browser(url)
    const home = (await browser.go('/login'))[0]!
    t.equal(await browser.go('/login'), `${home} s1`, 'sent with the old id')
    t.equal(await browser.go('/'), `${home} s2`)
    const old = browser.jar.get('sid')!
    t.equal(await browser.go('/logout'), `${home} s2`)
    t.notOk(browser.jar.has('sid'))
    const seen = results(t, () => app)
    browser.jar.set('sid', old)
    await browser.go('/')
    if (mode === 'learn') t.same(seen, ['new'], 'the table has forgotten it')
  })

  t.test(`${mode}: when the upstream is gone the next one takes over`, async (t) => {
    const list = await apps(t, 'ab')
    const { url, app } = await site(t, list, { keys, by: 'app-cookie', name: 'sid', mode })
    const browser = new Browser(url)
    const home = (await browser.go('/login'))[0]!
    app.balancer.pool('web').get(home)!.health.probed(false, 'test', { rise: 1, fall: 1 })
    const other = home === 'a' ? 'b' : 'a'
    t.equal(await browser.go('/'), `${other} stranger`)
    await browser.go('/login')
    app.balancer.pool('web').get(home)!.health.probed(true, 'test', { rise: 1, fall: 1 })
    for (let i = 0; i < 4; i++) t.equal(await browser.go('/'), `${other} s2`)
  })
}

t.test('learn: ids that only clients bring are not learnt, so nobody can fill the table', async (t) => {
  const { url, app } = await site(t, await apps(t, 'abc'), { by: 'app-cookie', name: 'sid', table: { maxEntries: 10 } })
  const browser = new Browser(url)
  const home = (await browser.go('/login'))[0]!
  for (let i = 0; i < 50; i++) await fetch(url, { headers: { cookie: `sid=made-up-${i}` } })
  t.equal(await browser.go('/'), `${home} s1`)
  const stranger = new Set<string>()
  for (let i = 0; i < 6; i++) stranger.add(await (await fetch(`${url}/x`, { headers: { cookie: `sid=made-up-${i}` } })).text())
  t.ok(stranger.size > 1)
  const seen = results(t, () => app)
  await fetch(url, { headers: { cookie: 'sid=1; sid=2' } })
  await fetch(url, { headers: { cookie: `sid=${'x'.repeat(5000)}` } })
  t.same(seen, ['duplicated', 'new', 'oversized', 'new'])
})

t.test('learn: idle sessions are forgotten', async (t) => {
  const clock = new FakeClock()
  const { url, app } = await site(t, await apps(t, 'abc'), { by: 'app-cookie', name: 'sid', clock, idleTimeout: 60_000 })
  const browser = new Browser(url)
  await browser.go('/login')
  const seen = results(t, () => app)
  for (let i = 0; i < 3; i++) {
    clock.advance(50_000)
    await browser.go('/')
  }
  clock.advance(60_001)
  await browser.go('/')
  t.same(seen, ['hit', 'hit', 'hit', 'new'])
})

t.test('prefix: what is forged chooses nobody, and the application still gets its value', async (t) => {
  const list = await apps(t, 'ab')
  const options: StickyOptions = { keys, by: 'app-cookie', name: 'sid', mode: 'prefix' }
  const { url, app } = await site(t, list, options)
  const seen = results(t, () => app)
  const browser = new Browser(url)
  const home = (await browser.go('/login'))[0]!
  const [prefix, own] = browser.jar.get('sid')!.split('~')
  seen.length = 0
  const origin = list.find(({ name }) => name === home)!
  const send = async (cookie: string): Promise<(string | undefined)[]> => {
    const before = list.map(({ seen }) => seen.length)
    await fetch(url, { headers: { cookie } })
    return list.flatMap(({ seen }, i) => seen.slice(before[i]).map(({ cookie }) => cookie))
  }
  t.same(await send(`sid=${prefix}~other`), ['sid=other'], 'the signature is for one value only')
  t.same(await send(`sid=AAAAAAAAAAAA${prefix!.slice(12)}~${own}`), [`sid=${own}`])
  t.same(await send(`sid=${own}; sid=${prefix}~${own}`), [`sid=${own}; sid=${own}`])
  t.same(await send('sid=plain~value'), ['sid=plain~value'], "the application's own, whatever is in it")
  t.same(seen, ['forged', 'new', 'forged', 'new', 'duplicated', 'new', 'new'])
  t.ok(origin.seen.length > 0)
})

t.test('prefix: not on answers that a shared cache may store', async (t) => {
  const list = await origins(t, 'a', (_name, _request, response) => {
    response.writeHead(200, { 'set-cookie': 'sid=1', 'cache-control': 'public, max-age=60' }).end()
  })
  const { url, app } = await site(t, list, { keys, by: 'app-cookie', name: 'sid', mode: 'prefix' })
  const seen = results(t, () => app)
  t.same((await fetch(url)).headers.getSetCookie(), ['sid=1'])
  t.same(seen, ['withheld', 'new'])
})
