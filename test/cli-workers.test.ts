import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { childrenOf, ready, run, serve, upstream, until } from './processes.ts'

/** A request over a connection of its own: those go round among the workers. */
function ask (url: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => { body += chunk })
      response.on('end', () => { resolve({ status: response.statusCode!, body }) })
      response.on('error', reject)
    }).on('error', reject)
  })
}

t.test('workers share the work, the checks, the metrics and the limits, and are renewed without a failure', async (t) => {
  let [well, ended] = [true, false]
  const held: (() => void)[] = []
  const url = await upstream(t, 'a', (request, response) => {
    if (request.url === '/hold') return held.push(() => { response.end('a') })
    response.statusCode = request.url === '/healthz' && !well ? 500 : 200
    response.end('a')
  })
  const proxy = await serve(t, '--workers', '2', '--upstream', `${url};maxInFlight=5`, '--health-path', '/healthz', '--health-interval', '50ms', '--admin', '/headgate', '--log-level', 'info')
  const lines = (): Record<string, unknown>[] => proxy.stdout().split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>)
  await until(() => lines().some(({ msg }) => msg === 'workers are ready'))
  for (let i = 0; i < 20; i++) t.equal((await ask(proxy.url)).status, 200)
  await until(() => lines().filter(({ msg }) => msg === 'incoming request').length >= 20)
  const pids = new Set(lines().filter(({ msg }) => msg === 'incoming request').map(({ pid }) => pid))
  t.equal(pids.size, 2, 'both workers')
  const { body } = await ask(`${proxy.url}/headgate/metrics`)
  t.match(body, /^headgate_upstream_requests_total\{.*\} 20$/m, 'as one')
  const { upstreams: [{ maxInFlight }] } = JSON.parse((await ask(`${proxy.url}/headgate/api/pools/default/upstreams`)).body) as { upstreams: [{ maxInFlight: number }] }
  t.equal(maxInFlight, 5)
  const running = Array.from({ length: 12 }, () => ask(`${proxy.url}/hold`))
  await until(() => held.length === 5)
  for (let i = 0; i < 2; i++) t.equal((await ask(`${proxy.url}/headgate/api/pools`)).status, 200)
  t.equal(held.length, 5, 'the bound is for the machine: no more run at once, whoever has them')
  void until(() => {
    for (const end of held.splice(0)) end()
    return ended
  })
  for (const { status } of await Promise.all(running)) t.equal(status, 200)
  ended = true
  well = false
  await until(async () => (await ask(proxy.url)).status === 503 && (await ask(proxy.url)).status === 503)
  well = true
  await until(async () => (await ask(proxy.url)).status === 200 && (await ask(proxy.url)).status === 200)
  t.pass('both know what the checks of one say')

  let stop = false
  const statuses = new Map<string, number>()
  const load = async (): Promise<void> => {
    while (!stop) {
      const status = await ask(proxy.url).then(({ status }) => String(status), (error: unknown) => (error as Error).message)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      // New workers have to start beside it, on however small a machine.
      await new Promise((resolve) => { setTimeout(resolve, 20) })
    }
  }
  const work = [load(), load()]
  proxy.child.kill('SIGHUP')
  await until(() => lines().some(({ msg }) => msg === 'workers are renewed'))
  stop = true
  await Promise.all(work)
  t.same([...statuses.keys()], ['200'], 'no failure while all were renewed')
  proxy.child.kill('SIGTERM')
  t.same(await proxy.ended, { status: 0, signal: null })
})

t.test('whichever worker dies, the upstreams are checked on', async (t) => {
  let well = true
  const url = await upstream(t, 'a', (request, response) => {
    response.statusCode = request.url === '/healthz' && !well ? 500 : 200
    response.end('a')
  })
  const proxy = await serve(t, '--workers', '2', '--upstream', url, '--health-path', '/healthz', '--health-interval', '50ms', '--log-level', 'warn')
  const said = (what: string): number => proxy.stdout().split(`"msg":"${what}"`).length - 1
  await until(() => said('workers are ready') > 0)
  /** Connections go round: two ask both workers. */
  const both = (status: number): Promise<void> => until(async () => (await ask(proxy.url)).status === status && (await ask(proxy.url)).status === status)
  for (let deaths = 1; deaths <= 2; deaths++) {
    // The one that was there before: it checks, or took it over when the first one died.
    process.kill(childrenOf(proxy)[0]!, 'SIGKILL')
    await until(() => said('a worker was replaced') === deaths)
    well = false
    await both(503)
    well = true
    await both(200)
  }
  t.pass('both know it each time')
})

t.test('limits of rates hold for all workers together, after one of them died and after all were renewed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hg-workers-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const file = join(folder, 'proxy.json')
  writeFileSync(file, JSON.stringify({
    listen: '127.0.0.1:0', logLevel: 'warn', pools: { web: [await upstream(t, 'a')] }, rateLimit: { max: 10, timeWindow: 3_600_000 },
    routes: [{ prefix: '/', pool: 'web' }, { prefix: '/login', pool: 'web', config: { rateLimit: { max: 4, timeWindow: 3_600_000 } } }]
  }))
  const proxy = await ready(run(t, 'serve', '--config', file, '--workers', '3'))
  const said = (what: string): boolean => proxy.stdout().includes(`"msg":"${what}"`)
  await until(() => said('workers are ready'))
  /** How many of so many are answered, all at once. */
  const answered = async (path: string, count: number): Promise<number> =>
    (await Promise.all(Array.from({ length: count }, () => ask(proxy.url + path)))).filter(({ status }) => status === 200).length
  t.equal(await answered('/login', 12), 4, 'what a route says')
  t.equal(await answered('/', 6) + await answered('/', 24), 10, 'what all share')
  const [victim] = childrenOf(proxy)
  process.kill(victim!, 'SIGKILL')
  await until(() => said('a worker was replaced'))
  t.equal(await answered('/', 6) + await answered('/login', 6), 0, 'what one counted that is dead')
  proxy.child.kill('SIGHUP')
  await until(() => said('workers are renewed'))
  t.equal(await answered('/', 6) + await answered('/login', 6), 0, 'and those who are no more')
})

t.test('what workers cannot do is said at the start', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hg-workers-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const file = join(folder, 'proxy.json')
  const cases: [object, string[], RegExp][] = [
    [{ pools: { web: { upstreams: ['http://127.0.0.1:9'], maxInFlight: 1 } } }, ['--workers', '2'], /maxInFlight: must be at least 2, one for each worker/]
  ]
  for (const [config, args, message] of cases) {
    writeFileSync(file, JSON.stringify({ pools: { web: ['http://127.0.0.1:9'] }, listen: '127.0.0.1:0', ...config }))
    const failed = run(t, 'serve', '--config', file, ...args)
    const { status } = await failed.ended
    t.equal(status, 2)
    t.match(failed.stderr(), message)
  }
})
