import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { createServer } from 'node:net'
import { Server as GrpcServer, type ServerUnaryCall, ServerCredentials, type sendUnaryData } from '@grpc/grpc-js'
import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import fc from 'fast-check'
import { channels, type LoadMessage, Lease, type Pool, type PoolContext, type Upstream } from '@headgate/core'
import t from 'tap'
import { readAgentLine } from '../src/agent-line.ts'
import { readOrca, readOrcaBin } from '../src/orca.ts'
import { readRetryAfter } from '../src/retry-after.ts'
import health from '../src/index.ts'
import { listen, watched } from './helpers.ts'

t.test('ORCA: text and JSON, the metric that counts, and what is none', async (t) => {
  const cases: [string, string | undefined, number | undefined][] = [
    ['TEXT cpu_utilization=0.3', undefined, 0.3],
    ['TEXT cpu_utilization=0.3, application_utilization=0.8,mem_utilization=0.1', undefined, 0.8],
    ['TEXT cpu_utilization=0.3,application_utilization=0', undefined, 0.3],
    ['cpu_utilization: 1.25', undefined, 1.25],
    ['TEXT named_metrics.kv_cache_usage_perc=0.4', 'named_metrics.kv_cache_usage_perc', 0.4],
    ['TEXT named_metrics.kv_cache_usage_perc=0.4', undefined, undefined],
    ['JSON {"cpu_utilization":0.3,"application_utilization":0.5}', undefined, 0.5],
    ['{"cpuUtilization":0.3}', undefined, 0.3],
    ['JSON {"named_metrics":{"queue.length":0.7}}', 'named_metrics.queue.length', 0.7],
    ['JSON {"namedMetrics":{"q":"0.7"}}', 'named_metrics.q', 0.7],
    ['TEXT cpu_utilization=-1', undefined, undefined],
    ['TEXT cpu_utilization=NaN', undefined, undefined],
    ['TEXT cpu_utilization=1e400', undefined, undefined],
    ['JSON {"cpu_utilization":', undefined, undefined],
    ['JSON null', undefined, undefined],
    ['JSON []', undefined, undefined],
    ['JSON {"__proto__":{"cpu_utilization":1}}', undefined, undefined],
    ['BIN AAAA', undefined, undefined],
    ['', undefined, undefined],
    ['TEXT cpu_utilization=0.5' + ' '.repeat(9000), undefined, undefined]
  ]
  for (const [value, metric, expected] of cases) t.equal(readOrca(value, metric), expected, value.slice(0, 80))
  fc.assert(fc.property(fc.string({ maxLength: 300 }), fc.option(fc.string(), { nil: undefined }), (value, metric) => {
    for (const text of [value, `TEXT ${value}`, `JSON ${value}`]) {
      const read = readOrca(text, metric)
      if (read !== undefined && !(read >= 0 && read < Infinity)) throw new Error(`${read} from ${text}`)
    }
  }))
  fc.assert(fc.property(fc.double({ min: 0, max: 10, noNaN: true }), (utilization) => {
    const number = Number(utilization.toFixed(6))
    return readOrca(`TEXT cpu_utilization=${number.toFixed(6)}`, undefined) === number && readOrca(`JSON ${JSON.stringify({ cpu_utilization: number })}`, undefined) === number
  }))
})

t.test('ORCA: the binary form', async (t) => {
  const double = (field: number, value: number): Buffer => {
    const bytes = Buffer.alloc(9)
    bytes[0] = field << 3 | 1
    bytes.writeDoubleLE(value, 1)
    return bytes
  }
  const bytes = (field: number, content: Buffer): Buffer => Buffer.concat([Buffer.from([field << 3 | 2, content.length]), content])
  const metric = (field: number, name: string, value: number): Buffer => bytes(field, Buffer.concat([bytes(1, Buffer.from(name)), double(2, value)]))
  const unknown = Buffer.concat([Buffer.from([3 << 3, 0x80, 0x01]), bytes(15, Buffer.from('later')), Buffer.from([14 << 3 | 5, 1, 2, 3, 4])])
  const cases: [Buffer, string | undefined, number | undefined][] = [
    [double(1, 0.3), undefined, 0.3],
    [Buffer.concat([unknown, double(1, 0.3), double(2, 0.1), double(9, 0.8)]), undefined, 0.8],
    [Buffer.concat([double(1, 0.3), double(9, 0)]), undefined, 0.3],
    [Buffer.concat([metric(8, 'queue', 0.4), metric(5, 'disk', 0.9), metric(4, 'bytes', 3487)]), 'named_metrics.queue', 0.4],
    [metric(5, 'disk', 0.9), 'utilization.disk', 0.9],
    [bytes(8, double(2, 0.4)), 'named_metrics.', 0.4],
    [Buffer.alloc(0), undefined, undefined],
    [double(1, -1), undefined, undefined],
    [double(1, NaN), undefined, undefined],
    [double(1, 0.3).subarray(0, 5), undefined, undefined],
    [Buffer.from([8 << 3 | 2, 200, 1, 0]), undefined, undefined],
    [Buffer.from([1 << 3 | 3]), undefined, undefined],
    [Buffer.alloc(20, 0xff), undefined, undefined]
  ]
  for (const [message, name, expected] of cases) {
    const text = message.toString('base64')
    t.equal(readOrcaBin(text, name), expected, text)
    t.equal(readOrcaBin(text.replaceAll('=', ''), name), expected, 'gRPC leaves the padding out')
    t.equal(readOrca(`BIN ${text}`, name), expected)
  }
  t.equal(readOrcaBin('not base64!', undefined), undefined)
  t.equal(readOrcaBin('A'.repeat(9000), undefined), undefined)
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (message) => {
    const read = readOrcaBin(Buffer.from(message).toString('base64'), undefined)
    return read === undefined || (read >= 0 && read < Infinity)
  }))
})

t.test('reports after the body count: HTTP trailers, and those of a real gRPC server', async (t) => {
  const plain = createHttpServer((_, response) => {
    response.writeHead(200, { trailer: 'Endpoint-Load-Metrics' }).write('hello')
    response.addTrailers({ 'Endpoint-Load-Metrics': 'TEXT cpu_utilization=0.25' })
    response.end()
  })
  t.teardown(() => { plain.close() })
  const { port } = await listen(plain)

  const grpc = new GrpcServer({ 'grpc.server_call_metric_recording': 1 })
  const say = { path: '/t.Echo/Say', requestStream: false, responseStream: false, requestSerialize: Buffer.from, requestDeserialize: Buffer.from, responseSerialize: Buffer.from, responseDeserialize: Buffer.from }
  grpc.addService({ Say: say } as never, {
    Say (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
      call.getMetricsRecorder().recordCPUUtilizationMetric(0.5)
      done(null, call.request)
    }
  })
  const grpcPort = await new Promise<number>((resolve, reject) => {
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => { if (error === null) resolve(port); else reject(error) })
  })
  t.teardown(() => { grpc.forceShutdown() })

  const app = Fastify({ http2: true, forceCloseConnections: true } as never) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(balancer, {
    pools: { plain: [`http://127.0.0.1:${port}`], grpc: { upstreams: [`http://127.0.0.1:${grpcPort}`], protocol: 'h2c' } },
    routes: [{ prefix: '/', pool: 'plain' }, { prefix: '/t.Echo', pool: 'grpc' }]
  })
  await app.register(health, { check: false })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const reported = (pool: string): number | undefined => app.balancer.pool(pool).upstreams[0]!.load.reported

  const session = connectHttp2(url)
  t.teardown(() => { session.destroy() })
  const request = session.request({ ':path': '/' }).resume()
  await once(request, 'close')
  t.equal(reported('plain'), 0.25)

  const call = session.request({ ':method': 'POST', ':path': say.path, 'content-type': 'application/grpc', te: 'trailers' }).resume()
  // A length-prefixed message: not compressed, two bytes.
  call.end(Buffer.from([0, 0, 0, 0, 2, 104, 105]))
  await once(call, 'close')
  t.equal(reported('grpc'), 0.5)
})

t.test('Retry-After: seconds, dates and nonsense', async (t) => {
  const now = Date.UTC(2026, 0, 1, 12)
  t.equal(readRetryAfter('30', now), 30_000)
  t.equal(readRetryAfter(' 0 ', now), 0)
  t.equal(readRetryAfter('Thu, 01 Jan 2026 12:01:00 GMT', now), 60_000)
  t.equal(readRetryAfter('Thu, 01 Jan 2026 11:00:00 GMT', now), 0, 'over already')
  for (const text of ['', '-1', '1.5', '99999999999', 'soon', '2026-01-01', 'Thu, 01 Foo 2026 12:01:00 GMT']) t.equal(readRetryAfter(text, now), 0, text)
})

t.test('agent lines: words of HAProxy, in any order, and words of nobody', async (t) => {
  const none = { percent: undefined, maxconn: undefined, operational: undefined, administrative: undefined, description: '', unknown: [] }
  t.same(readAgentLine('75% up'), { ...none, percent: 75, operational: 'up' })
  t.same(readAgentLine('maxconn:30'), { ...none, maxconn: 30 })
  t.same(readAgentLine('DRAIN'), { ...none, administrative: 'drain' })
  t.same(readAgentLine('ready\t100%,maxconn:0'), { ...none, administrative: 'ready', percent: 100, maxconn: 0 })
  t.same(readAgentLine('150%'), { ...none, percent: 100 })
  t.same(readAgentLine('down # disk is full'), { ...none, operational: 'down', description: 'disk is full' })
  for (const word of ['fail', 'failed', 'stopped']) t.equal(readAgentLine(word).operational, 'down')
  t.same(readAgentLine('up -5% maxconn:x hello').unknown, ['-5%', 'maxconn:x', 'hello'])
  fc.assert(fc.property(fc.string({ maxLength: 500 }), (line) => {
    const { percent, maxconn } = readAgentLine(line)
    return (percent === undefined || (percent >= 0 && percent <= 100)) && (maxconn === undefined || maxconn >= 0)
  }))
})

const context: PoolContext = {
  keyHash: 1, clientAddress: '10.0.0.1', clientLocation: undefined, affinity: undefined, attempts: 0, repeatable: true, hasTried: () => false
}

function answer (pool: Pool, upstream: Upstream, status: number, headers: string[]): void {
  const lease = pool.pick({ ...context, affinity: { upstreamId: upstream.id, whileDraining: true, strict: true } })
  if (!(lease instanceof Lease)) return
  lease.head(status, pool.environment.clock.now(), headers)
  lease.release('ok')
}

t.test('a busy upstream gets less, with hysteresis, until it says otherwise or nothing for long', async (t) => {
  const { pool, clock } = watched({ check: false })
  const [busy] = pool.upstreams as [Upstream]
  const heard: LoadMessage[] = []
  const hear = (message: unknown): void => { heard.push(message as LoadMessage) }
  channels.load.subscribe(hear)
  const report = (utilization: number): void => { answer(pool, busy, 200, ['Content-Type', 'text/plain', 'Endpoint-Load-Metrics', `TEXT cpu_utilization=${utilization}`]) }
  report(0.7)
  t.equal(busy.load.reported, 0.7, 'for the policy that goes by it')
  t.equal(busy.health.state, 'up')
  report(0.95)
  t.match(busy.health.history.at(-1), { to: 'degraded', decidedBy: 'report', reason: 'busy: utilization 0.95 reported', evidence: { utilization: 0.95, factor: 0.5 } })
  t.equal(busy.weight, 0.5)
  const changes = busy.health.history.length
  for (let i = 0; i < 100; i++) {
    report(i % 2 === 0 ? 0.85 : 0.95)
    clock.advance(100)
  }
  t.equal(busy.health.history.length, changes, 'around the limit nothing changes')
  report(0.5)
  t.equal(busy.health.state, 'up')
  t.equal(busy.weight, 1)
  report(2)
  t.equal(busy.load.reported, 1)
  t.equal(busy.health.state, 'degraded')
  clock.advance(180_300)
  t.equal(busy.health.state, 'up', 'a report does not hold for ever')
  t.equal(busy.load.reported, undefined)
  channels.load.unsubscribe(hear)
  t.match(heard[0], { pool: 'p', upstream: busy.id, from: 'header', utilization: 0.7 })
})

t.test('the policy that follows reports gets them, and no second reduction', async (t) => {
  const { pool } = watched({ check: false }, { policy: 'reported-load', upstreams: ['http://a', 'http://b'] })
  const [a, b] = pool.upstreams as [Upstream, Upstream]
  answer(pool, a, 200, ['endpoint-load-metrics', 'JSON {"cpu_utilization":0.95}'])
  answer(pool, b, 200, ['endpoint-load-metrics', 'JSON {"cpu_utilization":0.5}'])
  t.equal(a.health.state, 'up')
  const counts = [0, 0]
  for (let i = 0; i < 110; i++) {
    const lease = pool.pick(context) as Lease
    counts[lease.upstream === a ? 0 : 1]!++
    lease.release('ok')
  }
  t.ok(counts[1]! > counts[0]! * 8, counts.join(' and '))
})

t.test('503 with Retry-After pauses, 429 lowers the weight, neither is a failure, and one client is no reason', async (t) => {
  const { pool, clock } = watched({ check: false })
  const [polite, limited, other] = pool.upstreams as [Upstream, Upstream, Upstream]
  answer(pool, polite, 503, ['Retry-After', '20'])
  answer(pool, polite, 503, ['Retry-After', '20'])
  answer(pool, polite, 200, [])
  for (let i = 0; i < 2; i++) answer(pool, polite, 503, ['Retry-After', '20'])
  t.equal(polite.health.state, 'up', 'two in a row are not enough')
  answer(pool, polite, 503, ['Retry-After', '20'])
  t.match(polite.health.history.at(-1), { to: 'ejected', decidedBy: 'report', reason: 'busy: 3 answers 503 with Retry-After', evidence: { retryAfter: 20_000 } })
  t.equal(polite.health.ejections, 0, 'not held against it')
  clock.advance(20_000)
  const trial = pool.pick(context) as Lease
  t.equal(trial.upstream, polite)
  trial.head(200, clock.now(), [])
  trial.release('ok')
  t.equal(polite.health.state, 'up')
  for (let i = 0; i < 3; i++) answer(pool, limited, 429, ['Retry-After', '3600'])
  t.equal(limited.health.state, 'degraded')
  clock.advance(59_000)
  t.equal(limited.health.state, 'degraded')
  clock.advance(3000)
  t.equal(limited.health.state, 'up', 'a minute at most')
  for (let i = 0; i < 5; i++) answer(pool, other, 503, [])
  t.equal(other.health.state, 'ejected', 'without Retry-After it is a failure')
})

t.test('polite refusals are no failures, however many', async (t) => {
  const { pool } = watched({ check: false, load: { retryAfter: { after: 1000 } } })
  const [polite] = pool.upstreams as [Upstream]
  for (let i = 0; i < 100; i++) answer(pool, polite, 503, ['Retry-After', '20'])
  t.equal(polite.health.state, 'up')
})

t.test('never all are paused: the rest gets less', async (t) => {
  const { pool } = watched({ check: false })
  for (const upstream of pool.upstreams) for (let i = 0; i < 10; i++) answer(pool, upstream, 503, ['Retry-After', '20'])
  t.same(pool.upstreams.map(({ health }) => health.state), ['ejected', 'degraded', 'degraded'])
})

/** Sets immediate and I/O free until it holds: real sockets under a fake clock. */
async function settle (holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

t.test('an agent beside the upstream, over TCP', async (t) => {
  let line = 'up 75%\n'
  let asked = ''
  let answers = 0
  const agent = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (data) => {
      asked += data.toString()
      socket.end(line, () => { answers++ })
    })
  })
  await new Promise<void>((resolve) => { agent.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => agent.close())
  const { port } = agent.address() as { port: number }
  const { pool, clock, monitor, lines } = watched({ check: false, agent: { port, send: 'hi\n' } }, { upstreams: ['http://127.0.0.1:1'], maxInFlightPerUpstream: 100 })
  t.teardown(() => { monitor.stop() })
  const [upstream] = pool.upstreams as [Upstream]
  const member = [...monitor.members.values()][0]!
  const turn = async (): Promise<void> => {
    const before = member.agent!.last
    // In steps shorter than its time limit, which the time of this clock would also bring about.
    while (!member.agent!.running) clock.advance(250)
    await settle(() => member.agent!.last !== before)
  }
  const ask = async (text: string): Promise<void> => {
    line = text
    await turn()
  }
  await ask('up 75%\n')
  t.match(asked, /^hi\n/)
  t.match(upstream.health, { state: 'degraded', factor: 0.75, reason: 'agent: 75%' })
  t.equal(upstream.load.reported, 0.25)
  await ask('maxconn:30\r\nnot read any more')
  t.equal(upstream.maxInFlight, 30)
  t.equal(upstream.health.factor, 0.75, 'what is not said again stays')
  await ask('drain # new release')
  t.match(upstream.health, { state: 'draining', reason: 'agent: drain (new release)', decidedBy: 'report' })
  await ask('maint\n')
  t.equal(upstream.health.state, 'maintenance')
  await ask('down\n')
  t.equal(upstream.health.state, 'maintenance', 'maintenance goes on until ready')
  await ask('ready\n')
  t.equal(upstream.health.state, 'down')
  await ask('up 100% maxconn:0\n')
  t.equal(upstream.health.state, 'up')
  t.equal(upstream.maxInFlight, 100)
  await ask('0%\n')
  t.equal(upstream.health.state, 'draining')
  await ask('100%\n')
  t.equal(upstream.health.state, 'up')
  await ask('x'.repeat(5000))
  await ask('hello up\n')
  await ask('world\n')
  t.equal(upstream.health.state, 'up')
  t.match(lines, [{ level: 'warn', fields: { upstream: 'http://127.0.0.1:1' }, message: "the agent's line is longer than 4096 bytes: ignored" }], 'one warning for each upstream')
  t.equal(lines.length, 1)
  await ask('50%')
  t.equal(upstream.health.state, 'degraded')
  agent.close()
  await turn()
  t.equal(member.agent!.last?.ok, false)
  t.equal(upstream.health.state, 'degraded', 'no answer says nothing')
  for (let i = 0; i < 40; i++) await turn()
  t.equal(upstream.health.state, 'up', 'but a weight does not hold for ever')
  t.ok(answers > 10)
})
