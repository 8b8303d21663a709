import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import type { StickyOptions } from '../src/index.ts'
import { cookiesOf, FakeClock, keys, type Origin, origins, results, site } from './helpers.ts'

/** A client with a cookie of its own. */
class Client {
  cookie = ''
  readonly url: string
  constructor (url: string) { this.url = url }

  async ask (path = '/', init: RequestInit = {}): Promise<string> {
    const response = await fetch(this.url + path, { ...init, headers: { cookie: this.cookie } })
    this.cookie = cookiesOf(response)[0] ?? this.cookie
    const text = await response.text()
    return response.status === 200 ? text : `${response.status}`
  }
}

const health = (app: FastifyInstance, id: string): ReturnType<FastifyInstance['balancer']['pool']>['upstreams'][number]['health'] => app.balancer.pool('web').get(id)!.health
const down = (app: FastifyInstance, id: string): void => { health(app, id).probed(false, 'test', { rise: 1, fall: 1 }) }
const up = (app: FastifyInstance, id: string): void => { health(app, id).probed(true, 'test', { rise: 1, fall: 1 }) }

t.test('rebind: another upstream takes over and keeps the client', async (t) => {
  const { url, app } = await site(t, await origins(t, 'abc'))
  const seen = results(t, () => app)
  const client = new Client(url)
  const home = await client.ask()
  down(app, home)
  const next = await client.ask()
  t.not(next, home)
  up(app, home)
  for (let i = 0; i < 5; i++) t.equal(await client.ask(), next)
  t.same(seen.slice(0, 3), ['new', 'rebind', 'hit'])
})

t.test('an ejected or full upstream, too', async (t) => {
  let hold: (() => void) | undefined
  let held: () => void = () => {}
  const list = await origins(t, 'ab', (name, request, response) => {
    if (request.url !== '/hold') return response.end(name)
    hold = () => { response.end(name) }
    held()
  })
  const { url, app } = await site(t, list, { keys }, { maxInFlightPerUpstream: 1 })
  const client = new Client(url)
  const home = await client.ask()
  health(app, home).eject('test')
  const second = await client.ask()
  t.not(second, home)
  health(app, home).readmit('test')
  const there = new Promise<void>((resolve) => { held = resolve })
  const long = new Client(url)
  long.cookie = client.cookie
  const open = long.ask('/hold')
  await there
  t.equal(await client.ask(), home, 'full: the other takes over')
  hold!()
  t.equal(await open, second)
})

t.test('borrow: another answers, and the client goes home when its upstream is back in time', async (t) => {
  const clock = new FakeClock()
  for (const [kind, options] of [['cookie', { keys }], ['table', { by: 'header', name: 'x-user' }]] as [string, StickyOptions][]) {
    const { url, app } = await site(t, await origins(t, 'abc'), { ...options, clock, failover: 'borrow', borrowTime: 30_000 } as StickyOptions)
    const seen = results(t, () => app)
    const client = new Client(url)
    const ask = async (): Promise<string> => {
      const response = await fetch(url, { headers: { cookie: client.cookie, 'x-user': 'ada' } })
      client.cookie = cookiesOf(response)[0] ?? client.cookie
      return response.text()
    }
    const home = await ask()
    const { cookie } = client
    down(app, home)
    for (let i = 0; i < 3; i++) t.not(await ask(), home)
    t.equal(client.cookie, cookie)
    up(app, home)
    t.equal(await ask(), home)
    down(app, home)
    await ask()
    clock.advance(30_001)
    const other = await ask()
    t.not(other, home)
    up(app, home)
    t.equal(await ask(), other, `${kind}: away for too long, the client stays elsewhere`)
    t.same(seen, ['new', 'borrow', 'borrow', 'borrow', 'hit', 'borrow', 'rebind', 'hit'])
  }
})

t.test('strict: 503 rather than another upstream, for its own clients only', async (t) => {
  const { url, app } = await site(t, await origins(t, 'ab'), { keys, failover: 'strict' })
  const client = new Client(url)
  const home = await client.ask()
  down(app, home)
  const refused = await fetch(url, { headers: { cookie: client.cookie } })
  t.equal(refused.status, 503)
  t.match(await refused.json(), { code: 'HG_POOL_NONE_READY' })
  t.equal(refused.headers.get('retry-after'), '1')
  t.same(refused.headers.getSetCookie(), [])
  t.not(await new Client(url).ask(), home, 'newcomers are served')
  up(app, home)
  t.equal(await client.ask(), home)
  await app.balancer.pool('web').remove(home)
  t.not(await client.ask(), home, 'an upstream that left for good is not waited for')
})

t.test('draining: clients stay, or move with their next request; newcomers go elsewhere', async (t) => {
  for (const drain of ['keep', 'move'] as const) {
    for (const how of ['drain', 'weight 0'] as const) {
      const { url, app } = await site(t, await origins(t, 'abc'), { keys, drain })
      const seen = results(t, () => app)
      const client = new Client(url)
      const home = await client.ask()
      const pool = app.balancer.pool('web')
      if (how === 'drain') await pool.drain(home)
      else pool.setWeight(home, 0)
      const there = await client.ask()
      if (drain === 'keep') t.equal(there, home, how)
      else t.not(there, home, how)
      t.equal(seen.at(-1), drain === 'keep' ? 'hit' : 'rebind')
      for (let i = 0; i < 6; i++) t.not(await new Client(url).ask(), home)
      await pool.remove(home)
      t.not(await client.ask(), home, 'the drain has ended')
    }
  }
  const { url, app } = await site(t, await origins(t, 'ab'), { keys, drain: 'move', failover: 'strict' })
  const client = new Client(url)
  const home = await client.ask()
  await app.balancer.pool('web').drain(home)
  t.not(await client.ask(), home, 'moving is meant, so strict does not refuse it')
})

t.test('a retry binds the client to who answered in the end', async (t) => {
  const list = await origins(t, 'ab', (name, _request, response) => {
    if (name === 'a') response.writeHead(503).end()
    else response.end(name)
  })
  const { url, app } = await site(t, list, { keys }, { policy: 'first' })
  const seen = results(t, () => app)
  const client = new Client(url)
  t.equal(await client.ask(), 'b')
  t.equal(await client.ask(), 'b')
  t.equal(list[0]!.seen.length, 1, 'the second request did not try the other')
  t.same(seen, ['new', 'hit'])
})

t.test('an upstream that dies while it answers: the retry moves the client', async (t) => {
  const list = await origins(t, 'abc')
  const { url } = await site(t, list)
  const client = new Client(url)
  const home = await client.ask()
  await list.find(({ name }) => name === home)!.stop()
  const next = await client.ask()
  t.match(next, /^[abc]$/)
  t.not(next, home)
  for (let i = 0; i < 5; i++) t.equal(await client.ask(), next)
})

t.test("a gateway's failure binds nobody", async (t) => {
  const { url, app } = await site(t, await origins(t, 'a', (_name, _request, response) => { response.writeHead(502).end() }))
  const seen = results(t, () => app)
  const response = await fetch(url)
  t.equal(response.status, 502)
  t.same(cookiesOf(response), [])
  t.same(seen, [])
})

function echo (t: { teardown (action: () => unknown): void }, list: readonly Origin[]): void {
  for (const { server, name } of list) {
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', (socket) => { socket.send(name) })
    t.teardown(() => { sockets.close() })
  }
}

t.test('WebSockets stick, and their handshake binds', async (t) => {
  const list = await origins(t, 'abc')
  echo(t, list)
  const { url } = await site(t, list)
  const dial = async (cookie = ''): Promise<[string, string[]]> => new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace('http', 'ws'), { headers: { cookie } })
    let cookies: string[] = []
    socket.on('upgrade', (response) => { cookies = response.headers['set-cookie'] ?? [] })
    socket.on('message', (data) => {
      socket.close()
      resolve([String(data as Buffer), cookies])
    })
    socket.on('error', reject)
  })
  const client = new Client(url)
  const home = await client.ask()
  for (let i = 0; i < 5; i++) t.same(await dial(client.cookie), [home, []])
  const [first, [cookie]] = await dial()
  t.match(cookie, /^headgate-web=/)
  const pair = cookie!.split(';')[0]!
  t.equal((await dial(pair))[0], first)
  client.cookie = pair
  t.equal(await client.ask(), first, 'page and socket share it')
})

t.test('event streams stick', async (t) => {
  const list = await origins(t, 'abc', (name, request, response) => {
    if (request.headers.accept !== 'text/event-stream') return response.end(name)
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).write(`data: ${name}\n\n`)
  })
  const { url } = await site(t, list)
  const client = new Client(url)
  const home = await client.ask()
  for (let i = 0; i < 5; i++) {
    const abort = new AbortController()
    const response = await fetch(url, { headers: { cookie: client.cookie, accept: 'text/event-stream' }, signal: abort.signal })
    const { value } = await response.body!.getReader().read()
    t.equal(Buffer.from(value!).toString(), `data: ${home}\n\n`)
    abort.abort()
  }
})
