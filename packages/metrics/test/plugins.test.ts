// The figures of the plugins beside the balancer, each made by the plugin itself, and read by Prometheus itself.
import { channel } from 'node:diagnostics_channel'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import compress from '@headgate/compress'
import health from '@headgate/health'
import sticky from '@headgate/sticky-session'
import stream from '@headgate/stream'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { find, skipWithout } from '../../../tools/system.mjs'
import { upstream } from '../../balancer/test/helpers.ts'
import metrics from '../src/index.ts'

// Prometheus on a busy machine takes its time.
t.setTimeout(180_000)

const TEXT = 'a text that is long enough to be worth its encoding. '.repeat(100)

/** An app with all plugins, after some traffic of each kind; its guard wants a token. */
async function busy (t: Test): Promise<{ app: FastifyInstance; url: string; upstreams: { readonly url: string; stop (): Promise<void> }[] }> {
  const upstreams = await Promise.all(['a', 'b'].map((name) => upstream(t, (request, response) => {
    if (request.url!.startsWith('/kept')) response.setHeader('cache-control', 'max-age=600')
    response.setHeader('content-type', 'text/plain')
    response.end(request.url === '/who' ? name : TEXT)
  })))
  const echo = createServer((socket) => { socket.pipe(socket) })
  await new Promise<void>((resolve) => { echo.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { echo.close() })

  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(metrics, {
    route: { guard: (request, reply, done) => { if (request.headers.authorization === 'Bearer scraper') done(); else void reply.code(401).send() } },
    defaultMetrics: true, scaling: {}
  })
  await app.register(cache, {})
  await app.register(compress, {})
  await app.register(balancer, {
    pools: { web: { upstreams: [{ url: upstreams[0]!.url, id: 'a' }, { url: upstreams[1]!.url, id: 'b' }], policy: 'round-robin' } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  await app.register(stream, {
    pools: { echo: [`tcp://127.0.0.1:${(echo.address() as AddressInfo).port}`] }, listeners: [{ name: 'echo', listen: '127.0.0.1:0', pool: 'echo' }]
  })
  await app.register(sticky, { keys: ['a secret of more than thirty-two bytes, for tests'], pools: { echo: false } })
  await app.register(health, { check: false, passive: { gatewayFailures: 1, maxEjectionPercent: 100 } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  const get = async (path: string, headers: Record<string, string> = {}): Promise<{ body: string; cookie: string }> => {
    const response = await fetch(`${url}${path}`, { headers: { 'accept-encoding': 'identity', ...headers } })
    return { body: await response.text(), cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '' }
  }
  await get('/kept')
  t.equal((await get('/kept')).body, TEXT)
  await get('/kept', { range: 'bytes=0-9' })
  await get('/text', { 'accept-encoding': 'gzip' })

  const { body, cookie } = await get('/who')
  t.equal((await get('/who', { cookie })).body, body)
  // The first character of the signature: the last one's low bits say nothing.
  const at = cookie.lastIndexOf('.') + 1
  await get('/who', { cookie: cookie.slice(0, at) + (cookie[at] === 'A' ? 'B' : 'A') + cookie.slice(at + 1) })
  await upstreams[body === 'a' ? 0 : 1]!.stop()
  t.not((await get('/who', { cookie })).body, body)

  await new Promise<void>((resolve, reject) => {
    const socket = connect(Number(app.stream.listener('echo').address!.split(':').at(-1)), '127.0.0.1', () => { socket.end('hello') })
    socket.on('error', reject).on('close', () => { resolve() }).resume()
  })
  while (app.stream.listener('echo').counters.active > 0) await new Promise((resolve) => { setTimeout(resolve, 2) })
  return { app, url, upstreams }
}

async function scrape (app: FastifyInstance): Promise<string> {
  return (await app.inject({ url: '/metrics', headers: { authorization: 'Bearer scraper' } })).body
}

t.test('cache, compression, sessions and layer 4 are counted', async (t) => {
  const { app } = await busy(t)
  channel('headgate:compress:load').publish({ state: 'skip', before: 'lower-level', utilisation: 1, queue: 0 })
  const text = await scrape(app)
  const value = (line: string): number => Number(text.split('\n').find((candidate) => candidate.startsWith(`headgate_${line} `))?.split(' ').at(-1) ?? NaN)
  t.equal(value('cache_lookups_total{result="hit"}'), 2)
  t.equal(value('cache_served_bytes_total'), TEXT.length + 10, 'a range counts with its own bytes')
  t.equal(value('cache_stored_bytes_total'), TEXT.length)
  t.equal(value('cache_entries'), 1)
  t.ok(value('cache_bytes') > TEXT.length)

  t.equal(value('compress_responses_total{encoding="gzip"}'), 1)
  t.equal(value('compress_in_bytes_total{encoding="gzip"}'), TEXT.length)
  t.ok(value('compress_out_bytes_total{encoding="gzip"}') < TEXT.length / 10)
  t.equal(value('compress_seconds_count{encoding="gzip"}'), 1)
  t.equal(value('compress_load_changes_total{state="skip"}'), 1)

  const sessions = (result: string): number => value(`pool_sticky_total{pool="web",by="cookie",result="${result}"}`)
  t.equal(sessions('hit'), 1)
  t.equal(sessions('forged'), 1)
  t.equal(sessions('rebind'), 1)
  t.ok(sessions('new') >= 2)

  const listener = '{listener="echo",protocol="tcp"}'
  t.equal(value('stream_ends_total{listener="echo",protocol="tcp",reason="closed"}'), 1)
  t.equal(value(`stream_active${listener}`), 0)
  t.equal(value(`stream_sent_bytes_total${listener}`), 5)
  t.equal(value(`stream_received_bytes_total${listener}`), 5)
  t.equal(value(`stream_connect_seconds_count${listener}`), 1)
  t.equal(value(`stream_duration_seconds_count${listener}`), 1)
  t.match(text, /headgate_upstream_in_flight\{pool="echo",upstream="tcp:/, 'the pools of layer 4 are pools')
})

t.test('layer 4 without a balancer has figures too', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metrics, { route: { unsafe: true } })
  await app.register(stream, { listeners: [{ name: 'dns', protocol: 'udp', listen: '127.0.0.1:0', pool: ['udp://127.0.0.1:9'] }] })
  await app.ready()
  const { body } = await app.inject('/metrics')
  t.match(body, 'headgate_pool_upstreams{pool="dns"} 1\n')
  t.match(body, 'headgate_stream_active{listener="dns",protocol="udp"} 0\n')
})

t.test('promtool finds nothing to complain of', { skip: skipWithout('promtool') }, async (t) => {
  const { app } = await busy(t)
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: await scrape(app), encoding: 'utf8' })
  const complaints = `${stdout}${stderr}`.split('\n').filter((line) => line !== '' && !/^(nodejs|process)_/.test(line))
  t.same(complaints, [])
  t.ok(status === 0 || status === 3, 'prom-client\'s own process metrics are not ours to judge')
})

interface Sample { readonly metric: Record<string, string>; readonly value: [at: number, value: string] }

/** A Prometheus that scrapes `target`, once a second; gives what asks it. */
async function prometheus (t: Test, target: string): Promise<(path: string) => Promise<unknown>> {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-prometheus-'))
  const config = join(folder, 'prometheus.yml')
  writeFileSync(config, JSON.stringify({
    global: { scrape_interval: '1s', scrape_timeout: '1s' },
    scrape_configs: [{ job_name: 'headgate', authorization: { credentials: 'scraper' }, static_configs: [{ targets: [target] }] }]
  }))
  const child = spawn(find('prometheus')!, [
    `--config.file=${config}`, `--storage.tsdb.path=${join(folder, 'data')}`, '--web.listen-address=127.0.0.1:0'
  ], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = new Promise((resolve) => { child.on('exit', resolve) })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  const address = await new Promise<string>((resolve, reject) => {
    let found = ''
    createInterface({ input: child.stderr }).on('line', (line) => {
      found ||= /msg="?Listening on"? address=(127\.0\.0\.1:\d+)/.exec(line)?.[1] ?? ''
      if (line.includes('Server is ready')) resolve(found)
    })
    void ended.then(() => { reject(new Error('Prometheus ended')) })
  })
  return async (path) => (await fetch(`http://${address}/api/v1/${path}`)).json()
}

t.test('Prometheus scrapes it, through the guard, and forgets an upstream that is removed', { skip: skipWithout('prometheus') }, async (t) => {
  const { app, url, upstreams } = await busy(t)
  const ask = await prometheus(t, new URL(url).host)
  const query = async (text: string): Promise<Sample[]> => {
    const { data } = await ask(`query?query=${encodeURIComponent(text)}`) as { data?: { result: Sample[] } }
    return data?.result ?? []
  }
  const until = async (text: string, holds: (count: number) => boolean): Promise<void> => {
    while (!holds((await query(text)).length)) await new Promise((resolve) => { setTimeout(resolve, 100) })
  }
  await until('up{job="headgate"} == 1', (count) => count > 0)
  t.match(await ask('targets'), { data: { activeTargets: [{ health: 'up', lastError: '' }] } })
  const [served] = await query('headgate_cache_served_bytes_total')
  t.equal(Number(served!.value[1]), TEXT.length + 10)
  t.equal((await query('headgate_upstream_state{pool="web"} == 1')).length, 2, 'one state each')
  t.ok((await query('histogram_quantile(0.95, sum by (le) (headgate_pool_duration_seconds_bucket{pool="web"}))'))[0])
  t.equal((await query('headgate_pool_desired_upstreams{pool="web"}')).length, 1, 'what an autoscaler follows')

  const mine = `headgate_upstream_in_flight{upstream="${upstreams[0]!.url}"}`
  await until(mine, (count) => count === 1)
  await app.balancer.pool('web').remove('a', 0)
  await until(mine, (count) => count === 0)
  t.equal((await query('headgate_upstream_in_flight{pool="web"}')).length, 1)
})
