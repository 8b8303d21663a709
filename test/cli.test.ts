import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ready, run, serve, upstream } from './processes.ts'

async function count (url: string, requests: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let i = 0; i < requests; i++) {
    const name = await (await fetch(url)).text()
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

t.test('shares requests between two upstreams, by their weights', async (t) => {
  const { url, stdout } = await serve(t, '--upstream', await upstream(t, 'a'), '--upstream', `${await upstream(t, 'b')};weight=3`, '--policy', 'weighted-round-robin')
  t.same(await count(url, 40), { a: 10, b: 30 })
  const ready = stdout().split('\n').filter((line) => /listening/i.test(line))
  t.equal(ready.length, 1, 'one line says that it is ready')
  t.match(JSON.parse(ready[0]!), { level: 30, msg: 'listening', address: /^http:\/\/127\.0\.0\.1:\d+$/ })
})

t.test('--config with pools and routes, flags on top', async (t) => {
  const [a, b] = [await upstream(t, 'a'), await upstream(t, 'b')]
  const file = join(t.testdir({}), 'headgate.mjs')
  const config = { listen: '127.0.0.1:1', pools: { a: [a], b: { upstreams: [b] } }, routes: [{ prefix: '/b', pool: 'b' }, { prefix: '/', pool: 'a' }] }
  writeFileSync(file, `export default ${JSON.stringify(config)}`)
  const { url } = await serve(t, '--config', file)
  t.equal(await (await fetch(`${url}/x`)).text(), 'a')
  t.equal(await (await fetch(`${url}/b/x`)).text(), 'b')
})

t.test('a mistake is explained on stderr, without a stack, and ends with status 2', async (t) => {
  const dir = t.testdir({
    'lost.json': JSON.stringify({ pools: { a: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'b' }] }),
    'rise.yaml': 'pools:\n  web: [http://127.0.0.1:1]\nhealth:\n  check: { interval: 50ms, rise: 0 }\n'
  })
  const cases: [args: string[], message: RegExp][] = [
    [['serve', '--colour'], /^headgate: .*'--colour'.*\nTry 'headgate --help'\.\n$/],
    [['serve', '--upstream', 'ftp://x'], /^headgate: --upstream\[0\]: must be an origin .*; got 'ftp:\/\/x'\n$/],
    [['serve', '--config', join(dir, 'rise.yaml')], /rise\.yaml:4:34: health\.check\.rise: must be >= 1; got 0\n$/],
    [['serve', '--config', join(dir, 'lost.json')], /lost\.json:1:\d+: routes\[0\]\.pool: must be one of the pools a; got 'b'\n$/]
  ]
  for (const [args, message] of cases) {
    const { ended, stderr, stdout } = run(t, ...args)
    t.same(await ended, { status: 2, signal: null }, args.join(' '))
    t.match(stderr(), message, args.join(' '))
    t.equal(stdout(), '', 'nothing on stdout')
  }
})

t.test('--help and --version', async (t) => {
  const help = run(t, '--help')
  t.same(await help.ended, { status: 0, signal: null })
  t.match(help.stdout(), /Usage: headgate serve/)
  const version = run(t, '--version')
  t.same(await version.ended, { status: 0, signal: null })
  t.match(version.stdout(), /^\d+\.\d+\.\d+\n$/)
})

t.test('an address in use ends with status 1', async (t) => {
  const taken = new URL(await upstream(t, 'a')).host
  const { ended, stderr } = run(t, 'serve', '--listen', taken, '--upstream', 'http://127.0.0.1:1')
  t.same(await ended, { status: 1, signal: null })
  t.match(stderr(), /EADDRINUSE/)
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal} lets a running request finish`, async (t) => {
    let finish = () => {}
    let reached = () => {}
    const arrived = new Promise<void>((resolve) => { reached = resolve })
    const slow = await upstream(t, 'slow', (_, response) => {
      response.write('be')
      finish = () => response.end('gun')
      reached()
    })
    const { url, child, ended } = await serve(t, '--upstream', slow)
    const response = await fetch(url)
    await arrived
    child.kill(signal)
    setTimeout(() => finish(), 200)
    t.equal(await response.text(), 'begun')
    t.same(await ended, { status: 0, signal: null })
  })
}

t.test('whoever read the log has gone: a signal ends it all the same', async (t) => {
  const { url, child, ended } = await serve(t, '--upstream', await upstream(t, 'a'))
  child.stdout!.destroy()
  t.equal(await (await fetch(url)).text(), 'a')
  child.kill('SIGTERM')
  t.same(await ended, { status: 0, signal: null })
})

t.test('502 when no upstream listens', async (t) => {
  const { url } = await serve(t, '--upstream', 'http://127.0.0.1:1')
  const response = await fetch(url)
  t.equal(response.status, 502)
  t.match(await response.json(), { status: 502, code: 'HG_UPSTREAM_FAILED' })
})

t.test('a socket that a killed process left behind is taken over, one in use is not', async (t) => {
  // A test's own folder is too deep for a socket's name.
  const dir = mkdtempSync(join(tmpdir(), 'headgate-'))
  t.teardown(() => { rmSync(dir, { recursive: true }) })
  const path = join(dir, 's')
  const flags = ['serve', '--listen', `unix:${path}`, '--upstream', await upstream(t, 'a')]
  const first = await ready(run(t, ...flags))
  const second = run(t, ...flags)
  t.same(await second.ended, { status: 1, signal: null })
  t.match(second.stderr(), /EADDRINUSE/)
  first.child.kill('SIGKILL')
  await first.ended
  await ready(run(t, ...flags))
  const answer = await new Promise<number>((resolve, reject) => {
    get({ socketPath: path, path: '/' }, (response) => {
      response.resume()
      resolve(response.statusCode!)
    }).on('error', reject)
  })
  t.equal(answer, 200)
})

t.test('--timeout: 504 from a silent upstream; --client-headers-timeout: 408 for a client that does not finish its head', async (t) => {
  const { url } = await serve(t, '--upstream', await upstream(t, 'silent', () => {}), '--timeout', '0.2s', '--client-headers-timeout', '300')
  t.equal((await fetch(url, { method: 'POST' })).status, 504)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk: Buffer) => { answer += chunk.toString() })
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n')
  await once(socket, 'close')
  t.match(answer, /^HTTP\/1\.1 408 /)
})

t.test('--health-path: who fails its checks gets nothing', async (t) => {
  let well = false
  const a = await upstream(t, 'a', (request, response) => response.writeHead(request.url === '/healthz' && !well ? 503 : 200).end('a'))
  const { url, stdout } = await serve(t, '--upstream', a, '--upstream', await upstream(t, 'b'), '--policy', 'round-robin', '--health-path', '/healthz', '--health-interval', '50ms')
  const changed = async (to: string): Promise<void> => {
    while (!stdout().includes(`"to":"${to}"`)) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await changed('down')
  t.same(await count(url, 10), { b: 10 })
  well = true
  await changed('up')
  t.same(Object.keys(await count(url, 30)).sort(), ['a', 'b'])
})

t.test('traffic is judged unless --no-passive: an upstream that answers 500 is left alone', async (t) => {
  let asked = 0
  const bad = await upstream(t, 'bad', (_, response) => {
    asked++
    response.writeHead(500).end('bad')
  })
  const flags = ['--upstream', bad, '--upstream', await upstream(t, 'good'), '--policy', 'round-robin']
  t.same(await count((await serve(t, ...flags)).url, 40), { bad: 5, good: 35 })
  asked = 0
  t.same(await count((await serve(t, ...flags, '--no-passive')).url, 40), { bad: 20, good: 20 })
  t.equal(asked, 20)
})

t.test('health in a configuration file', async (t) => {
  const file = join(t.testdir({}), 'health.yaml')
  writeFileSync(file, `pools:\n  web: [${await upstream(t, 'a')}]\nhealth:\n  check: { path: /, interval: 50ms, initial: wait }\n  routes: { ready: true }\n`)
  const { url } = await serve(t, '--config', file)
  t.match(await (await fetch(`${url}/readyz`)).json(), { status: 'ready', pools: { web: 1 } })
})

t.test('--compress encodes, and the file may say how', async (t) => {
  const page = '<p>a page that comes again and again</p>'.repeat(100)
  const up = await upstream(t, 'pages', (_, response) => response.setHeader('content-type', 'text/html').end(page))
  const dir = t.testdir({})
  const coding = async (...args: string[]): Promise<string | null> => {
    const { url } = await serve(t, ...args)
    const response = await fetch(url, { headers: { 'accept-encoding': 'gzip' } })
    t.equal(await response.text(), page)
    return response.headers.get('content-encoding')
  }
  const file = join(dir, 'headgate.json')
  writeFileSync(file, JSON.stringify({ pools: { web: [up] }, compress: false }))
  t.equal(await coding('--config', file, '--compress'), 'gzip', 'the flag switches it on')
  writeFileSync(file, JSON.stringify({ pools: { web: [up] }, compress: { threshold: '1MiB' } }))
  t.equal(await coding('--config', file, '--compress'), null, 'the file says how')
})
