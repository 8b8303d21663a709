import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { channels, type StreamMessage } from '@headgate/core'
import { FakeClock } from '../../core/test/clock.ts'
import { proxy, type Test, until } from './helpers.ts'

async function bind (t: Test, host = '127.0.0.1'): Promise<Socket> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  socket.bind(0, host)
  await once(socket, 'listening')
  t.teardown(() => { try { socket.close() } catch {} })
  return socket
}

/** Answers each datagram `times` times with its name in front. */
async function echo (t: Test, name: string, times = 1, host = '127.0.0.1') {
  const socket = await bind(t, host)
  const peers = new Set<number>()
  socket.on('message', (datagram, { port, address }) => {
    peers.add(port)
    for (let i = 0; i < times; i++) socket.send(`${name} ${String(datagram)}`, port, address)
  })
  return { url: `udp://${host.includes(':') ? `[${host}]` : host}:${socket.address().port}`, socket, peers }
}

/** Sends and gives the first answer. */
async function ask (socket: Socket, port: number, text: string, host = '127.0.0.1'): Promise<string> {
  socket.send(text, port, host)
  const [datagram] = await once(socket, 'message') as [Buffer]
  return String(datagram)
}

t.test('a client keeps its upstream while its session lives; another is balanced anew', async (t) => {
  const [a, b] = [await echo(t, 'a'), await echo(t, 'b')]
  const clock = new FakeClock()
  const { port, stream } = await proxy(t, { clock, listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: { upstreams: [a.url, b.url], policy: 'round-robin' }, idleTimeout: 1000 }] })
  const [one, two] = [await bind(t), await bind(t)]
  const first = await ask(one, port('u'), 'x')
  t.not(await ask(two, port('u'), 'x'), first)
  for (let i = 0; i < 5; i++) t.equal(await ask(one, port('u'), 'x'), first)
  t.match(stream.listener('u').counters, { accepted: 2, active: 2 })
  clock.advance(900)
  await ask(one, port('u'), 'x')
  clock.advance(900)
  t.equal(stream.listener('u').counters.active, 1, 'the silent one is over')
  clock.advance(2000)
  t.equal(stream.listener('u').counters.active, 0)
  t.same([...stream.listener('u').counters.ends], [['idle-timeout', 2]])
  for (const { load } of stream.pools.get('u')!.upstreams) t.equal(load.inFlight, 0)
})

t.test('counted answers end a session; none expected ends it at once', async (t) => {
  const a = await echo(t, 'a', 3)
  const { port, stream } = await proxy(t, {
    listeners: [
      { protocol: 'udp', name: 'two', listen: '127.0.0.1:0', pool: [a.url], responses: 2 },
      { protocol: 'udp', name: 'none', listen: '127.0.0.1:0', pool: [a.url], responses: 0 }
    ]
  })
  const client = await bind(t)
  const got: string[] = []
  client.on('message', (datagram) => { got.push(String(datagram)) })
  client.send('x', port('two'), '127.0.0.1')
  await until(() => got.length === 2)
  t.equal(stream.listener('two').counters.active, 0)
  client.send('y', port('none'), '127.0.0.1')
  await until(() => a.peers.size === 2)
  await until(() => stream.listener('none').counters.ends.get('closed') === 1)
  t.equal(stream.listener('none').counters.active, 0)
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.same(got, ['a x', 'a x'], 'and what comes later goes to nobody')
})

t.test('a flood from many sources stays within the bound; the oldest make room', async (t) => {
  const a = await echo(t, 'a')
  const { port, stream } = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: [a.url], maxSessions: 50 }, { protocol: 'udp', name: 'each', listen: '127.0.0.1:0', pool: [a.url], maxSessionsPerClient: 3 }] })
  const { counters } = stream.listener('u')
  let most = 0
  const clients = []
  for (let i = 0; i < 400; i++) {
    const client = createSocket('udp4')
    clients.push(client)
    client.send('flood', port('u'), '127.0.0.1')
    if (i % 20 === 19) await until(() => counters.accepted >= i - 5)
    most = Math.max(most, counters.active)
  }
  await until(() => counters.accepted > 300)
  t.ok(most <= 50, `${most} sessions at most`)
  t.ok(counters.ends.get('evicted')! > 200)
  t.ok(process.getActiveResourcesInfo().filter((name) => name === 'UDPWrap').length <= 400 + 50 + 10, 'and as many sockets')
  const each = stream.listener('each').counters
  for (const client of clients.slice(0, 10)) client.send('x', port('each'), '127.0.0.1')
  await until(() => each.accepted === 10)
  t.equal(each.active, 3)
  t.equal(each.ends.get('max-sessions-per-client'), 7)
  for (const client of clients) client.close()
})

t.test('a flood of strangers pushes out who is silent, not who is in use', async (t) => {
  const a = await echo(t, 'a')
  const { port, stream } = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: [a.url], maxSessions: 3 }] })
  const { counters } = stream.listener('u')
  const [busy, silent] = [await bind(t), await bind(t)]
  await ask(busy, port('u'), 'x')
  const [session] = a.peers
  await ask(silent, port('u'), 'x')
  for (let i = 0; i < 20; i++) {
    t.equal(await ask(busy, port('u'), 'x'), 'a x')
    await ask(await bind(t), port('u'), 'stranger')
  }
  t.equal(counters.ends.get('evicted'), 19)
  t.equal(counters.accepted, 22, 'the busy one had one session all the time')
  await ask(silent, port('u'), 'again')
  t.equal(counters.accepted, 23)
  t.equal(a.peers.size, 23)
  t.ok(a.peers.has(session!))
})

t.test('an upstream that is not there is passed over by ICMP, and the datagram is not lost', async (t) => {
  const a = await echo(t, 'a')
  const gone = await bind(t)
  const url = `udp://127.0.0.1:${gone.address().port}`
  gone.close()
  const { port, stream } = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: { upstreams: [url, a.url], policy: 'first' } }, { protocol: 'udp', name: 'only', listen: '127.0.0.1:0', pool: [url] }] })
  const outcomes: string[] = []
  stream.pools.get('u')!.on('outcome', (_upstream, outcome, _lease, reason) => { outcomes.push(`${outcome} ${reason}`) })
  const client = await bind(t)
  t.equal(await ask(client, port('u'), 'x'), 'a x')
  t.same(outcomes, ['failed-after-send unreachable'], 'passive health hears of it')
  client.send('x', port('only'), '127.0.0.1')
  await until(() => stream.listener('only').counters.ends.get('unreachable') === 1)
  t.equal(stream.listener('only').counters.active, 0)
})

t.test('several that are not there are passed over, whatever the budget', async (t) => {
  const a = await echo(t, 'a')
  const gone = await Promise.all(Array.from({ length: 4 }, () => bind(t)))
  const urls = gone.map((socket) => `udp://127.0.0.1:${socket.address().port}`)
  for (const socket of gone) socket.close()
  const pool = { upstreams: [...urls, a.url], policy: 'first' as const, retryBudget: { ratio: 0, perSecond: 0 } }
  const { port, stream } = await proxy(t, {
    listeners: [
      { protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool, retries: 1 }, { protocol: 'udp', name: 'once', listen: '127.0.0.1:0', pool, retries: 0 },
      { protocol: 'udp', name: 'none', listen: '127.0.0.1:0', pool: { ...pool, upstreams: urls }, retries: 1 }
    ]
  })
  const client = await bind(t)
  t.equal(await ask(client, port('u'), 'x'), 'a x')
  client.send('x', port('once'), '127.0.0.1')
  await until(() => stream.listener('once').counters.ends.get('unreachable') === 1)
  t.equal(a.peers.size, 1)
  client.send('x', port('none'), '127.0.0.1')
  await until(() => stream.listener('none').counters.ends.get('unreachable') === 1)
  t.equal(stream.listener('none').counters.failures.get('unreachable'), 4, 'each once')
})

t.test('nobody else gets a word in: no answer but what the upstream sent, to nobody but its client', async (t) => {
  const a = await echo(t, 'a')
  const { port, stream } = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: [a.url] }] })
  const client = await bind(t)
  const got: string[] = []
  client.on('message', (datagram) => { got.push(String(datagram)) })
  client.send('x', port('u'), '127.0.0.1')
  await until(() => got.length === 1)
  const [inner] = a.peers
  const stranger = await bind(t)
  stranger.send('forged and much longer than what was asked', inner!, '127.0.0.1')
  a.socket.send('', inner!, '127.0.0.1')
  a.socket.send('late', inner!, '127.0.0.1')
  await until(() => got.length === 3)
  t.same(got, ['a x', '', 'late'])
  t.equal(stream.listener('u').counters.active, 1)
})

t.test('IPv6, and the same upstream for the same address in every process', async (t) => {
  const ups = await Promise.all(['a', 'b', 'c', 'd'].map((name) => echo(t, name)))
  const hash = { upstreams: ups.map(({ url }) => url), policy: 'ip-hash' as const }
  const listener = { protocol: 'udp' as const, listen: '[::]:0', pool: hash }
  const [one, two] = [await proxy(t, { listeners: [{ ...listener, name: 'u' }] }), await proxy(t, { listeners: [{ ...listener, name: 'u' }] })]
  const answers = new Set<string>()
  for (const { port } of [one, two]) {
    answers.add(await ask(await bind(t), port('u'), 'x'))
    answers.add(await ask(await bind(t), port('u'), 'x'))
  }
  t.equal(answers.size, 1)
  const six = await echo(t, 'six', 1, '::1').catch(() => undefined)
  if (six === undefined) return t.comment('no IPv6 here')
  const v6 = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '[::1]:0', pool: [six.url] }] })
  t.equal(await ask(await bind(t, '::1'), v6.port('u'), 'x', '::1'), 'six x')
})

t.test('datagrams of every size, unchanged; messages tell of sessions', async (t) => {
  const messages: StreamMessage[] = []
  const hear = (message: unknown): void => { messages.push(message as StreamMessage) }
  channels.stream.subscribe(hear as never)
  t.teardown(() => channels.stream.unsubscribe(hear as never))
  const upstream = await bind(t)
  upstream.on('message', (datagram, { port, address }) => { upstream.send(datagram, port, address) })
  const { port, app } = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: [`udp://127.0.0.1:${upstream.address().port}`] }] })
  const client = await bind(t)
  let total = 0
  for (const size of [0, 1, 100, 1472, 1473, 9000, 40_000, 65_507]) {
    const sent = Buffer.alloc(size, size % 251)
    client.send(sent, port('u'), '127.0.0.1')
    const [back] = await once(client, 'message') as [Buffer]
    t.ok(back.equals(sent), `${size} bytes`)
    total += size
  }
  await app.close()
  t.match(messages, [{ protocol: 'udp', listener: 'u', pool: 'u', client: '127.0.0.1', reason: 'shutdown', sent: total, received: total, attempts: 1 }])
})

t.test('closing waits for counted answers, within its time', async (t) => {
  const upstream = await bind(t)
  const { port, app, stream } = await proxy(t, { listeners: [{ protocol: 'udp', name: 'u', listen: '127.0.0.1:0', pool: [`udp://127.0.0.1:${upstream.address().port}`], responses: 1, drainTimeout: 60_000 }] })
  const client = await bind(t)
  client.send('x', port('u'), '127.0.0.1')
  const [, peer] = await once(upstream, 'message') as [Buffer, { port: number }]
  const closing = app.close()
  const answer = once(client, 'message') as Promise<[Buffer]>
  upstream.send('late', peer.port, '127.0.0.1')
  t.equal(String((await answer)[0]), 'late')
  await closing
  t.same([...stream.listener('u').counters.ends], [['closed', 1]])
})
