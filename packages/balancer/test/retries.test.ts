import { channel } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { backoff, isRepeatable, mayRepeat } from '../src/repeat.ts'
import { parseRetryAfter } from '../src/retry-after.ts'
import { bodyOf, proxy, rawUpstream, refusing, until, upstream } from './helpers.ts'

type Test = Parameters<typeof upstream>[0]

/** Two upstreams, the first with a fault, and how often each was asked. */
async function pair (
  t: Test, fault: (socket: Socket, head: string, count: number) => void
): Promise<{ upstreams: string[]; counts: { faulty: number; good: number } }> {
  const counts = { faulty: 0, good: 0 }
  const faulty = await rawUpstream(t, (socket, head, count) => {
    counts.faulty++
    fault(socket, head, count)
  })
  const { url } = await upstream(t, async (request, response) => {
    counts.good++
    response.end(`good ${(await bodyOf(request)).toString()}`)
  })
  return { upstreams: [faulty, url], counts }
}

const status = (code: number, fields = ''): string => `HTTP/1.1 ${code} Reason\r\nContent-Length: 5\r\n${fields}\r\nfault`

const faults: [string, (socket: Socket) => void][] = [
  ['a reset before the head', (socket) => { socket.resetAndDestroy() }],
  ['a close before the head', (socket) => { socket.end() }],
  ['a reset within the head', (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Le', () => { setTimeout(() => { socket.resetAndDestroy() }, 5) }) }],
  ['a close within the head', (socket) => { socket.end('HTTP/1.1 200 OK\r\nContent-Le') }],
  ['a malformed head', (socket) => { socket.write('HTTP/1.1 two hundred\r\n\r\n') }],
  ['no HTTP at all', (socket) => { socket.write('SSH-2.0-OpenSSH_9.2\r\n') }],
  ['contradictory framing', (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1') }],
  ['502', (socket) => { socket.write(status(502)) }],
  ['503', (socket) => { socket.write(status(503)) }],
  ['504', (socket) => { socket.write(status(504)) }],
  ['429 with seconds', (socket) => { socket.write(status(429, 'Retry-After: 7\r\n')) }],
  ['429 with a date', (socket) => { socket.write(status(429, 'Retry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n')) }]
]
for (const [name, fault] of faults) {
  t.test(`${name}: GET is answered by another upstream, POST goes to nobody else`, async (t) => {
    const { upstreams, counts } = await pair(t, fault)
    const { url, app } = await proxy(t, { pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] })
    t.equal(await (await fetch(url)).text(), 'good ')
    t.same(counts, { faulty: 1, good: 1 })
    const posted = await fetch(url, { method: 'POST', body: 'x' })
    t.ok(posted.status >= 429, `${posted.status}`)
    await posted.arrayBuffer()
    t.same(counts, { faulty: 2, good: 1 })
    t.equal(app.balancer.pool('web').inFlight, 0)
  })
}

t.test('statuses that are not listed, and 429 without a Retry-After that is understood, are passed on', async (t) => {
  for (const [code, fields] of [[500, ''], [404, ''], [429, ''], [429, 'Retry-After: soon\r\n'], [429, 'Retry-After: -1\r\n']] as const) {
    const { upstreams, counts } = await pair(t, (socket) => { socket.write(status(code, fields)) })
    const { url } = await proxy(t, { pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web' }] })
    const response = await fetch(url)
    t.equal(response.status, code)
    t.equal(await response.text(), 'fault')
    t.same(counts, { faulty: 1, good: 0 })
  }
})

t.test('what the route allows beyond: methods, keys; retry: false forbids all', async (t) => {
  const ask = async (retry: object | false, init: RequestInit): Promise<[number, object]> => {
    const { upstreams, counts } = await pair(t, (socket) => { socket.write(status(503)) })
    const { url } = await proxy(t, { pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web', retry }] })
    return [(await fetch(url, init)).status, counts]
  }
  const keyed = { method: 'POST', body: 'x', headers: { 'idempotency-key': '"k"' } }
  t.same(await ask({ methods: ['GET', 'POST'] }, { method: 'POST', body: 'x' }), [200, { faulty: 1, good: 1 }])
  t.same(await ask({ idempotencyKey: true }, keyed), [200, { faulty: 1, good: 1 }])
  t.same(await ask({ idempotencyKey: true }, { method: 'POST', body: 'x' }), [503, { faulty: 1, good: 0 }])
  t.same(await ask({}, keyed), [503, { faulty: 1, good: 0 }])
  t.same(await ask({ bodyLimit: 3 }, { method: 'PUT', body: 'long' }), [503, { faulty: 1, good: 0 }], 'not kept, not repeated')
  t.same(await ask({ bodyLimit: 4 }, { method: 'PUT', body: 'long' }), [200, { faulty: 1, good: 1 }])
  t.same(await ask({ statuses: [500] }, {}), [503, { faulty: 1, good: 0 }])
  t.same(await ask(false, {}), [503, { faulty: 1, good: 0 }])
})

t.test('retry: false does not even leave a dead upstream', async (t) => {
  const { upstreams } = await pair(t, () => {})
  const { url } = await proxy(t, { pools: { web: { upstreams: [await refusing(), upstreams[1]!], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web', retry: false }] })
  t.equal((await fetch(url)).status, 502)
})

t.test('attempts are bounded, and only what was tried already is waited for', async (t) => {
  const counts = [0, 0]
  const upstreams = await Promise.all(counts.map((_, index) => rawUpstream(t, (socket) => {
    counts[index]!++
    socket.resetAndDestroy()
  })))
  let draws = 0
  const { url } = await proxy(t, {
    pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web', retry: { attempts: 3 } }],
    random: () => {
      draws++
      return 0
    }
  })
  t.equal((await fetch(url)).status, 502)
  t.equal(counts[0]! + counts[1]!, 4)
  t.ok(counts[0]! >= 1 && counts[1]! >= 1)
  t.equal(draws, 2, 'a pause was drawn for the third and the fourth attempt')
})

t.test('an outage multiplies load by the budget only', async (t) => {
  let asked = 0
  const dead = await rawUpstream(t, (socket) => {
    asked++
    socket.write(status(503))
  })
  const other = await rawUpstream(t, (socket) => {
    asked++
    socket.write(status(503))
  })
  const refused: unknown[] = []
  const listen = (message: unknown): void => { if ((message as { refused: boolean }).refused) refused.push(message) }
  channel('headgate:balancer:retry').subscribe(listen)
  t.teardown(() => channel('headgate:balancer:retry').unsubscribe(listen))
  const { url } = await proxy(t, {
    pools: { web: { upstreams: [dead, other], policy: 'round-robin', retryBudget: { ratio: 0.2, perSecond: 0 } } },
    routes: [{ prefix: '/', pool: 'web' }], random: () => 0
  })
  for (let i = 0; i < 100; i++) t.equal((await fetch(url)).status, 503)
  t.ok(asked <= 120, `${asked} requests upstream for 100`)
  t.ok(asked >= 115, `${asked}: the budget is used`)
  t.ok(refused.length > 0, 'its exhaustion is told')
})

t.test('refused connections cost nothing of the budget: half of a pool may be dead at any rate', async (t) => {
  const { upstreams } = await pair(t, () => {})
  const { url } = await proxy(t, {
    pools: { web: { upstreams: [await refusing(), upstreams[1]!], policy: 'round-robin', retryBudget: { ratio: 0, perSecond: 0 } } }, routes: [{ prefix: '/', pool: 'web' }]
  })
  for (let i = 0; i < 20; i++) t.equal((await fetch(url)).status, 200)
})

t.test('who refuses the connection is passed over, however many do, while somebody else is there', async (t) => {
  const { upstreams: [, good] } = await pair(t, () => {})
  const dead = await Promise.all(Array.from({ length: 6 }, refusing))
  for (const [name, upstreams] of Object.entries({ 'of one tier': [...dead, good!], backups: [...dead.map((url, i) => i < 2 ? url : { url, backup: true }), { url: good!, backup: true }] })) {
    for (const method of ['GET', 'POST']) {
      let draws = 0
      const { url } = await proxy(t, {
        pools: { web: { upstreams, policy: 'first', retryBudget: { ratio: 0, perSecond: 0 } } }, routes: [{ prefix: '/', pool: 'web', retry: { attempts: 1 } }],
        random: () => {
          draws++
          return 0
        }
      })
      draws = 0
      t.equal((await fetch(url, { method })).status, 200, `${name}: ${method}`)
      t.equal(draws, 0, 'without a pause')
    }
  }
})

t.test('who refuses the connection leaves the attempts for other failures', async (t) => {
  const { upstreams, counts } = await pair(t, (socket) => { socket.resetAndDestroy() })
  const dead = await Promise.all(Array.from({ length: 3 }, refusing))
  const { url } = await proxy(t, { pools: { web: { upstreams: [...dead, ...upstreams], policy: 'first' } }, routes: [{ prefix: '/', pool: 'web', retry: { attempts: 1 } }] })
  t.equal((await fetch(url)).status, 200)
  t.same(counts, { faulty: 1, good: 1 })
})

t.test('of a large pool that refuses connections, not each is asked; and none again beyond the attempts', async (t) => {
  const asked = async (count: number): Promise<number> => {
    const upstreams = await Promise.all(Array.from({ length: count }, refusing))
    const { url } = await proxy(t, { pools: { web: { upstreams, policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web', exposeErrors: true }], random: () => 0 })
    const response = await fetch(url)
    t.equal(response.status, 502)
    return (await response.json() as { attempts: number }).attempts
  }
  t.equal(await asked(60), 33)
  t.equal(await asked(5), 5)
  t.equal(await asked(2), 3)
})

t.test('the keep-alive race: no GET fails, no POST is done twice', async (t) => {
  // Answers one request on each connection and closes it when the next one has been written.
  const race = (served: string[]) => {
    const used = new WeakSet<Socket>()
    return (socket: Socket, head: string): void => {
      if (used.has(socket)) return void socket.resetAndDestroy()
      used.add(socket)
      served.push(head.split(' ')[0]!)
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
  }
  const served: string[] = []
  const upstreams = [await rawUpstream(t, race(served)), await rawUpstream(t, race(served))]
  const { url, app } = await proxy(t, { pools: { web: { upstreams, policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }] })
  for (let i = 0; i < 60; i++) t.equal((await fetch(url)).status, 200)
  t.equal(served.length, 60)
  let posted = 0
  for (let i = 0; i < 30; i++) if ((await fetch(url, { method: 'POST' })).status === 200) posted++
  t.equal(served.filter((method) => method === 'POST').length, posted)
  t.same(app.balancer.pool('web').upstreams.map(({ load }) => load.failed), [0, 0], 'no fault of the upstream')
})

t.test('a POST, or a body too large to be kept, opens a connection where the idle ones are not fresh', async (t) => {
  // Closes a connection when a second request comes.
  const used = new WeakSet<Socket>()
  let seen = 0
  const { url: to } = await upstream(t, async (request, response) => {
    seen++
    const { socket } = request
    if (used.has(socket)) return void socket.resetAndDestroy()
    used.add(socket)
    await bodyOf(request)
    response.end('ok')
  })
  const { url } = await proxy(t, {
    pools: { web: { upstreams: [to], connection: { freshFor: 0 } } }, routes: [{ prefix: '/', pool: 'web', retry: { bodyLimit: 10 } }]
  })
  for (let i = 0; i < 5; i++) {
    t.equal((await fetch(url)).status, 200, 'leaves an idle connection, after it has met others')
    t.equal((await fetch(url, { method: 'POST' })).status, 200)
    t.equal((await fetch(url, { method: 'PUT', body: 'more than ten' })).status, 200)
  }
  t.ok(seen > 15, 'a GET may take an old one, and is sent again')
})

t.test('all down, then one back', async (t) => {
  const { upstreams } = await pair(t, () => {})
  const { url, app } = await proxy(t, { pools: { web: { upstreams: [await refusing()], slowStart: 0 } }, routes: [{ prefix: '/', pool: 'web' }], random: () => 0 })
  for (let i = 0; i < 5; i++) t.equal((await fetch(url)).status, 502)
  await app.balancer.pool('web').update([upstreams[1]!])
  t.equal(await (await fetch(url)).text(), 'good ')
})

t.test('tryTimeout, headersTimeout and timeout: 200 from another upstream, else 504, and never a second POST', async (t) => {
  const { upstreams, counts } = await pair(t, () => {})
  for (const limits of [{ tryTimeout: 30 }, { headersTimeout: 30 }]) {
    counts.faulty = counts.good = 0
    const { url } = await proxy(t, { pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web', ...limits }] })
    t.equal(await (await fetch(url)).text(), 'good ')
    t.equal((await fetch(url, { method: 'POST', body: 'x' })).status, 504)
    t.same(counts, { faulty: 2, good: 1 })
  }
  const { url, app } = await proxy(t, { pools: { web: { upstreams, policy: 'first' } }, routes: [{ prefix: '/', pool: 'web', timeout: 30 }] })
  t.equal((await fetch(url)).status, 504)
  t.equal(app.balancer.pool('web').inFlight, 0)
})

t.test('the whole time also ends the wait in the queue', async (t) => {
  const { url: hanging } = await upstream(t, () => {})
  const { url, app } = await proxy(t, {
    pools: { web: { upstreams: [hanging], maxInFlight: 1, queue: { timeout: 600_000 } } },
    routes: [{ prefix: '/slow', pool: 'web' }, { prefix: '/', pool: 'web', timeout: 30 }]
  })
  const controller = new AbortController()
  const first = fetch(`${url}/slow`, { signal: controller.signal }).catch(() => {})
  const pool = app.balancer.pool('web')
  await until(() => pool.inFlight === 1)
  t.equal((await fetch(url)).status, 504)
  t.equal(pool.queued, 0)
  controller.abort()
  await first
})

t.test('what may be repeated: any request, any phase', async () => {
  const route = { retryMethods: new Set(['GET', 'PUT']), retryByKey: true }
  const request = fc.record({ method: fc.constantFrom('GET', 'PUT', 'POST', 'PATCH'), replayable: fc.boolean(), withheld: fc.boolean(), keyed: fc.boolean() })
  fc.assert(fc.property(request, fc.constantFrom('connect', 'request', 'head', 'body'), fc.boolean(), (given, phase, byKey) => {
    const rules = { ...route, retryByKey: byKey }
    const may = mayRepeat({ replayable: given.replayable, repeatable: isRepeatable(given, rules) }, phase)
    if (may && !given.replayable) throw new Error('without its body')
    if (may && phase === 'body') throw new Error('after the response began')
    const safe = rules.retryMethods.has(given.method) || given.withheld || (byKey && given.keyed)
    if (may && phase !== 'connect' && !safe) throw new Error('a request that may have been executed')
    if (phase === 'connect' && given.replayable && !may) throw new Error('nobody saw it')
    if (isRepeatable(given, rules) !== (safe && given.replayable)) throw new Error('repeatable')
  }))
})

t.test('pauses: full jitter under a bound that doubles from 25 to 250 ms', async (t) => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 50 }), fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (retry, chance) => {
    const pause = backoff(retry, () => chance)
    return pause >= 0 && pause <= Math.min(250, 25 * 2 ** (retry - 1))
  }))
  t.same([1, 2, 3, 4, 5, 9].map((retry) => backoff(retry, () => 1)), [25, 50, 100, 200, 250, 250])
})

t.test('Retry-After in seconds and as a date', async (t) => {
  const now = Date.UTC(2026, 0, 1)
  t.equal(parseRetryAfter('0', now), 0)
  t.equal(parseRetryAfter('120', now), 120_000)
  t.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:05 GMT', now), 5000)
  t.equal(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now), 0)
  for (const bad of [undefined, '', '-1', '1.5', '1 ', 'soon', 'Thursday, 01-Jan-26 00:00:05 GMT', '2026-01-01T00:00:00Z', 'Thu, 99 Jan 2026 00:00:05 GMT']) t.equal(parseRetryAfter(bad, now), undefined, String(bad))
})
