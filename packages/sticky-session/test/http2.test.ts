import { readFileSync } from 'node:fs'
import { type ClientHttp2Session, connect } from 'node:http2'
import { once } from 'node:events'
import type { FastifyServerOptions } from 'fastify'
import { chromium } from 'playwright-core'
import t from 'tap'
import { find, skipWithout } from '../../../tools/system.mjs'
import { startApp } from './farm.ts'
import { keys, origins, proxy, results, site } from './helpers.ts'

const fixture = (name: string): Buffer => readFileSync(new URL(`../../balancer/test/fixtures/${name}`, import.meta.url))
/** Fastify's types have another type of app for HTTP/2; what the tests do is the same. */
const secure = { http2: true, https: { allowHTTP1: true, key: fixture('key.pem'), cert: fixture('cert.pem') } } as FastifyServerOptions

/** One request on a session, with its cookies cut up as HTTP/2 allows (RFC 9113 8.2.3). */
async function ask (session: ClientHttp2Session, cookies: string[]): Promise<{ body: string; set: string[] }> {
  const stream = session.request({ ':path': '/', ...cookies.length > 0 && { cookie: cookies } })
  let set: string[] = []
  stream.on('response', (headers) => { set = [headers['set-cookie'] ?? []].flat() })
  stream.setEncoding('utf8')
  let body = ''
  stream.on('data', (text: string) => { body += text })
  await once(stream, 'end')
  return { body, set }
}

interface Visitor {
  me (): Promise<{ by: string; user: string | null; visits: number }>
  login (): Promise<{ by: string }>
  cookies (): Promise<object[]>
  /** What scripts see of the cookies. */
  visible (): Promise<string>
}

t.test('HTTP/2 clients, several on one connection: each keeps its upstream, and the upstreams see nothing of it', async (t) => {
  const list = await origins(t, 'abc')
  const { url, app } = await site(t, list, { keys }, {}, { server: { http2: true } as FastifyServerOptions })
  const seen = results(t, () => app)
  const session = connect(url)
  t.teardown(() => { session.destroy() })
  const clients: { home: string; cookie: string }[] = []
  for (let i = 0; i < 6; i++) {
    const { body, set } = await ask(session, ['own=1'])
    t.equal(set.length, 1)
    clients.push({ home: body, cookie: set[0]!.split(';')[0]! })
  }
  t.same(new Set(clients.map(({ home }) => home)), new Set(['a', 'b', 'c']))
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(clients.map(({ cookie }) => ask(session, ['own=1', cookie, 'more=2'])))
    t.same(answers, clients.map(({ home }) => ({ body: home, set: [] })))
  }
  t.same(seen.filter((result) => result !== 'hit'), Array.from({ length: 6 }, () => 'new'))
  for (const { seen } of list) for (const { cookie } of seen) t.match(cookie, /^own=1(?:; more=2)?$/)
})

t.test('Chromium, over HTTP/2 and TLS: visitors stay logged in where they are; who loses his process logs in again', {
  skip: skipWithout('chromium'), timeout: 110_000
}, async (t) => {
  const upstreams = await Promise.all(['a', 'b'].map((name) => startApp(t, name)))
  const versions = new Set<string>()
  const { url } = await proxy(t, {
    balancer: {
      pools: { web: { upstreams: upstreams.map(({ id, url }) => ({ id, url })), policy: 'round-robin' } },
      routes: [{ prefix: '/app', pool: 'web', rewritePrefix: '/', cookiePath: '/app' }]
    },
    sticky: { keys },
    server: secure,
    before: (app) => app.addHook('onRequest', async (request) => { versions.add(request.raw.httpVersion) }),
    after: (app) => app.get('/', (_request, reply) => reply.type('text/html').send('<!doctype html><p>hello'))
  })
  const browser = await chromium.launch({
    executablePath: find('chromium')!, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking', '--ignore-certificate-errors']
  })
  t.teardown(() => browser.close())
  const visitor = async (name: string): Promise<Visitor> => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true })
    const page = await context.newPage()
    page.setDefaultTimeout(100_000)
    await page.goto(`${url}/`)
    const call = (path: string, method: string): Promise<never> => page.evaluate(`fetch('/app${path}', { method: '${method}' }).then((response) => response.json())`) as Promise<never>
    return {
      me: () => call('/me', 'GET'),
      login: () => call(`/login/${name}`, 'POST'),
      cookies: () => context.cookies(`${url}/app/`),
      visible: () => page.evaluate('document.cookie') as Promise<string>
    }
  }
  const [ann, bob] = [await visitor('ann'), await visitor('bob')]
  const homes = [(await ann.login()).by, (await bob.login()).by]
  t.same(new Set(homes), new Set(['a', 'b']))
  for (let i = 1; i <= 10; i++) {
    t.same(await ann.me(), { by: homes[0], user: 'ann', visits: i })
    t.same(await bob.me(), { by: homes[1], user: 'bob', visits: i })
  }
  t.match((await ann.cookies()).find((cookie) => (cookie as { name: string }).name.startsWith('headgate')), { httpOnly: true, secure: true, sameSite: 'Lax', path: '/app' })
  t.equal((await ann.visible()).includes('headgate'), false)
  const victim = upstreams.find(({ id }) => id === homes[0])!
  victim.child.kill('SIGKILL')
  await once(victim.child, 'exit')
  t.same(await ann.me(), { by: homes[1], user: null, visits: 0 })
  t.equal((await ann.login()).by, homes[1])
  t.same(await ann.me(), { by: homes[1], user: 'ann', visits: 1 })
  t.same(await bob.me(), { by: homes[1], user: 'bob', visits: 11 }, 'nobody else noticed')
  await browser.close()
  t.same([...versions], ['2.0'])
})
