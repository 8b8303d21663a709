import { request, type IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import { type Question, type Run, askAlone, serve, until, upstream } from './processes.ts'

interface Answer { readonly status: number; readonly etag: string; readonly body: Body }
interface UpstreamBody { id: string; url: string; operator: string; configuredWeight: number; maxInFlight: number | null }
interface Body {
  text: string
  etag: string
  total: { requests: number; inFlight: number; cache: { lookups: Record<string, number> } | null }
  pools: { name: string; requests: number; etag: string; retryBudget: number; maxInFlight: number | null }[]
  upstreams: UpstreamBody[]
  events: { id: number; kind: string; text: string }[]
  purged: number
  code: string
}

async function ask (url: string, question?: Question): Promise<Answer> {
  const { response: { statusCode, headers }, text } = await askAlone(url, question)
  const json = headers['content-type']?.startsWith('application/json') === true
  return { status: statusCode!, etag: headers.etag ?? '', body: (json ? JSON.parse(text) : { text }) as Body }
}

type Line = Record<string, unknown>
const lines = (proxy: Run): Line[] => proxy.stdout().split('\n').filter((line) => line.startsWith('{') && line.endsWith('}')).map((line) => JSON.parse(line) as Line)

/** Three workers; `three(path)` asks each of them the same. */
async function workers (t: Test, ...args: string[]) {
  const proxy = await serve(t, '--workers', '3', '--admin', '/headgate', '--log-level', 'info', ...args)
  await until(() => lines(proxy).some(({ msg }) => msg === 'workers are ready'))
  const api = (path: string): string => `${proxy.url}/headgate/api${path}`
  const three = async (path: string): Promise<Answer[]> => [await ask(api(path)), await ask(api(path)), await ask(api(path))]
  return { proxy, api, three }
}

/** Reads a stream of server-sent events. */
function watch (t: Test, url: string): Promise<{ readonly texts: string[] }> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent: false }, (response: IncomingMessage) => {
      const texts: string[] = []
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => { texts.push(chunk) })
      response.on('error', () => {})
      resolve({ texts })
    })
    sent.on('error', reject)
    sent.end()
    t.teardown(() => { sent.destroy() })
  })
}

t.test('one admin API for all workers: figures of the machine, changes for all and for those who come later', async (t) => {
  const held: (() => void)[] = []
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => upstream(t, name, (request, response) => {
    const end = (): void => { response.end(name) }
    if (request.url === '/hold') held.push(end)
    else end()
  }))) as [string, string, string]
  const { proxy, api, three } = await workers(t, '--upstream', `${a};maxInFlight=30`, '--upstream', b)
  const streams = [await watch(t, api('/stream')), await watch(t, api('/stream')), await watch(t, api('/stream'))]

  for (let i = 0; i < 12; i++) t.equal((await ask(proxy.url)).status, 200)
  await until(async () => (await ask(api('/pools'))).body.total.requests === 12)
  for (const { body } of await three('/pools')) {
    t.equal(body.pools[0]!.requests, 12, 'all that all of them forwarded')
    t.equal(body.total.requests, 12)
  }
  const pids = new Set(lines(proxy).filter(({ msg, req }) => msg === 'incoming request' && (req as { url: string }).url === '/').map(({ pid }) => pid))
  t.equal(pids.size, 3)
  const waiting = [0, 1, 2, 3].map(() => ask(`${proxy.url}/hold`))
  await until(() => held.length === 4)
  for (const { body } of await three('/pools')) t.equal(body.total.inFlight, 4, 'what runs in all of them')
  for (const { body } of await three('/pools/default/upstreams')) t.equal(body.upstreams.find(({ url }) => url === a)?.maxInFlight, 30)

  const seen = await three('/pools/default')
  t.equal(new Set(seen.map(({ etag }) => etag)).size, 1, 'one etag')
  const idA = seen.length > 0 ? (await ask(api('/pools/default/upstreams'))).body.upstreams.find(({ url }) => url === a)!.id : ''
  const changes = { changes: [{ op: 'weight', pool: 'default', id: idA, weight: 7 }, { op: 'add', pool: 'default', upstream: { url: c, id: 'c' } }] }
  const plan = await ask(api('/plan'), { method: 'POST', body: changes })
  t.equal(plan.body.etag, seen[0]!.etag)
  const applied = await ask(api('/apply'), { method: 'POST', body: changes, headers: { 'if-match': plan.body.etag } })
  t.equal(applied.status, 200)
  t.match((await ask(api('/apply'), { method: 'POST', body: changes, headers: { 'if-match': plan.body.etag } })), { status: 400 }, 'c is there already')
  const stale = { changes: [{ op: 'weight', pool: 'default', id: idA, weight: 8 }] }
  for (let i = 0; i < 3; i++) t.match(await ask(api('/apply'), { method: 'POST', body: stale, headers: { 'if-match': plan.body.etag } }), { status: 412 }, 'the plan is over for every worker')
  for (const { etag, body } of await three('/pools/default/upstreams')) {
    t.equal(etag, applied.body.etag)
    t.equal(body.upstreams.find(({ id }) => id === idA)?.configuredWeight, 7)
    t.ok(body.upstreams.some(({ id }) => id === 'c'))
  }
  // What each does shows what each knows: drained, nobody gets there, whichever worker chooses.
  for (const { id } of (await ask(api('/pools/default/upstreams'))).body.upstreams) {
    if (id !== 'c') t.equal((await ask(api(`/pools/default/upstreams/${encodeURIComponent(id)}`), { method: 'PATCH', body: { state: 'drain', reason: 'a test' } })).status, 200)
  }
  const bodies = async (): Promise<unknown[]> => {
    const found: unknown[] = []
    for (let i = 0; i < 4; i++) found.push((await ask(proxy.url)).body.text)
    return found
  }
  t.same(await bodies(), ['c', 'c', 'c', 'c'], 'the change holds in all workers when it is answered')

  // A member that leaves is shown until it has left everywhere.
  const idB = (await ask(api('/pools/default/upstreams'))).body.upstreams.find(({ url }) => url === b)!.id
  t.equal((await ask(api(`/pools/default/upstreams/${encodeURIComponent(idB)}`), { method: 'DELETE' })).status, 200)
  for (const { body } of await three('/pools/default/upstreams')) t.ok(body.upstreams.some(({ id }) => id === idB), 'it has requests somewhere')
  for (const end of held) end()
  for (const { status } of await Promise.all(waiting)) t.equal(status, 200)
  await until(async () => (await ask(api('/pools/default/upstreams'))).body.upstreams.every(({ id }) => id !== idB))

  // Each stream, wherever it comes from, tells all of it.
  await until(() => streams.every(({ texts }) => {
    const text = texts.join('')
    return text.includes('event: snapshot') && text.includes('event: tick') && text.includes('weight: 1 → 7') && text.includes('removal begun')
  }))
  const events = (await three('/events')).map(({ body }) => body.events)
  t.same(events[0], events[1])
  t.same(events[0], events[2])
  t.equal(events[0]!.filter(({ kind, text }) => kind === 'membership' && text === 'joined the pool').length, 1, 'told once, not by each worker')

  // The one that speaks for all dies: another does, and the new one is like the others.
  const died = new Set<number>()
  for (const pid of pids as Set<number>) {
    died.add(pid)
    process.kill(pid, 'SIGKILL')
    await until(() => lines(proxy).filter(({ msg }) => msg === 'a worker was replaced').length === died.size)
    const { body } = await ask(api('/pools/default/upstreams'))
    t.match(body.upstreams.find(({ id }) => id === idA), { configuredWeight: 7, operator: 'drain' })
  }
  t.same(await bodies(), ['c', 'c', 'c', 'c'], 'all that run now started later')
  t.equal((await ask(api('/pools/default'))).etag, (await ask(api('/pools/default'))).etag)
  t.ok((await ask(api('/events'))).body.events.some(({ text }) => text === 'weight: 1 → 7'), 'what happened is remembered')

  proxy.child.kill('SIGHUP')
  await until(() => lines(proxy).some(({ msg }) => msg === 'workers are renewed'))
  t.same(await bodies(), ['c', 'c', 'c', 'c'], 'renewed ones too')
  t.equal((await ask(api(`/pools/default/upstreams/${encodeURIComponent(idA)}`), { method: 'PATCH', body: { state: 'auto' } })).status, 200)
  for (const { body } of await three('/pools/default/upstreams')) t.match(body.upstreams.find(({ id }) => id === idA), { configuredWeight: 7, operator: 'auto' })
  await until(async () => (await bodies()).includes('a'))

  // Closed, it is closed in all of them, and in those that come.
  t.equal((await ask(api('/maintenance'), { method: 'PUT', body: { active: true } })).status, 200)
  const statuses = async (): Promise<number[]> => [(await ask(proxy.url)).status, (await ask(proxy.url)).status, (await ask(proxy.url)).status]
  t.same(await statuses(), [503, 503, 503])
  const ready = lines(proxy).filter(({ msg }) => msg === 'workers are renewed').length
  proxy.child.kill('SIGHUP')
  await until(() => lines(proxy).filter(({ msg }) => msg === 'workers are renewed').length > ready)
  t.same(await statuses(), [503, 503, 503])
  t.equal((await ask(api('/maintenance'), { method: 'PUT', body: { active: false } })).status, 200)
  t.same(await statuses(), [200, 200, 200])
  proxy.child.kill('SIGTERM')
  t.same(await proxy.ended, { status: 0, signal: null })
})
