import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { Cable, redisServer, type Test, until } from './servers.ts'

interface Answer { readonly status: number; readonly body: string; readonly cache: string }

/** The truth: each path has a version that only ever grows, and every answer tells which it was when the request arrived. */
async function origin (t: Test): Promise<{ url: string; versions: Map<string, number>; fetched: Map<string, number>; hold: { ms: number } }> {
  const versions = new Map<string, number>()
  const fetched = new Map<string, number>()
  const hold = { ms: 0 }
  const server = createServer((message, response) => {
    const path = message.url!
    const version = versions.get(path) ?? 0
    fetched.set(path, (fetched.get(path) ?? 0) + 1)
    response.setHeader('cache-control', 'max-age=3600').setHeader('cache-tag', 'page')
    const body = `${version} `.padEnd(path.startsWith('/long') ? 300_000 : 20, 'x')
    if (hold.ms === 0) response.end(body)
    else setTimeout(() => { response.end(body) }, hold.ms)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, versions, fetched, hold }
}

interface Proxy { readonly port: number; readonly child: ChildProcess; get (path: string): Promise<Answer>; purge (what: object): Promise<number> }

async function proxy (t: Test, options: object): Promise<Proxy> {
  const child = fork(fileURLToPath(new URL('./fixtures/proxy.mjs', import.meta.url)), [JSON.stringify(options)], { execArgv: [], env: { PATH: process.env['PATH'] } })
  const ended = once(child, 'exit')
  const agent = new Agent({ keepAlive: true, maxSockets: 20 })
  t.teardown(async () => {
    agent.destroy()
    child.kill('SIGKILL')
    await ended
  })
  const [{ port }] = await Promise.race([once(child, 'message'), ended.then(() => { throw new Error('it ended while it started') })]) as [{ port: number }]
  const send = (method: string, path: string, body?: string): Promise<Answer> => new Promise((resolve, reject) => {
    // One name for all: their keys are the same then.
    const headers = { host: 'site.example', ...body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }
    const outgoing = request({ agent, method, port, host: '127.0.0.1', path, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => { chunks.push(chunk) })
      response.on('end', () => { resolve({ status: response.statusCode!, body: Buffer.concat(chunks).toString(), cache: String(response.headers['cache-status']) }) })
      response.on('error', reject)
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
  return { port, child, get: (path) => send('GET', path), purge: async (what) => (await send('POST', '/_cache/purge', JSON.stringify(what))).status }
}

t.test('three processes and one Redis', { skip: skipWithout('redis-server'), timeout: 240_000 }, async (t) => {
  const server = await redisServer(t)
  const cable = await Cable.lay(t, server.port)
  const { url, versions, fetched, hold } = await origin(t)
  // The time limit is generous for counting fetches: on a busy machine 20 ms would be this machine's own delay.
  const start = (timeout: number, to: string, prefix: string): Promise<Proxy> => proxy(t, {
    // Never stale, however long a cut lasts on a slow machine: without contact, what it has is validated.
    upstreams: [url], redis: { url: to, prefix, timeout, lease: 1500, retryAfter: 50 }, cache: { isolated: 'validate' }
  })

  await t.test('one origin fetch for each key, however many ask wherever', async (t) => {
    const proxies = await Promise.all([1, 2, 3].map(() => start(10_000, server.url, 'count')))
    hold.ms = 50
    const paths = Array.from({ length: 30 }, (_, i) => i % 3 === 0 ? `/long/${i}` : `/short/${i}`)
    const answers = await Promise.all(paths.flatMap((path) => Array.from({ length: 9 }, (_, i) => proxies[i % 3]!.get(path))))
    hold.ms = 0
    t.ok(answers.every(({ status, body }) => status === 200 && body.startsWith('0 ')), 'all answered')
    t.same(paths.filter((path) => fetched.get(path) !== 1), [], 'one fetch each')
    for (const path of paths) versions.set(path, 1)
    t.equal(await proxies[1]!.purge({ tags: ['page'] }), 200)
    const after = await Promise.all(paths.flatMap((path) => proxies.map(({ get }) => get(path))))
    t.ok(after.every(({ body }) => body.startsWith('1 ')), 'nothing old after the purge was acknowledged')
    t.same(paths.filter((path) => fetched.get(path) !== 2), [], 'and one fetch each again')
    for (const { child } of proxies) {
      const ended = once(child, 'exit')
      child.send('end')
      await ended
    }
  })

  await t.test('restart, pause and a cut cable under load: no failure, nothing stale after an acknowledged purge', async (t) => {
    // The third is behind the cable.
    const proxies = await Promise.all([server.url, server.url, cable.url].map((to) => start(20, to, 'faults')))
    const paths = Array.from({ length: 12 }, (_, i) => `/${i % 4 === 0 ? 'long' : 'short'}/load-${i}`)
    /** The least version that may be seen of a path by requests that begin now. */
    const least = new Map<string, number>()
    const stale: string[] = []
    const failed: string[] = []
    const seen = { requests: 0, hits: 0, acknowledged: 0, refused: 0 }
    let stop = false
    let phase = 'calm'
    const load = async (which: Proxy, name: string): Promise<void> => {
      for (let i = 0; !stop; i++) {
        const path = paths[(i * 7) % paths.length]!
        const wanted = least.get(path) ?? 0
        try {
          const { status, body, cache } = await which.get(path)
          seen.requests++
          if (cache.includes('; hit')) seen.hits++
          if (status !== 200) failed.push(`${phase} ${name} ${path} ${status}`)
          else if (Number(body.split(' ')[0]) < wanted) stale.push(`${phase} ${name} ${path} ${body.slice(0, 6)} < ${wanted}`)
        } catch (error) {
          failed.push(`${phase} ${name} ${path} ${(error as Error).message}`)
        }
        // Room for the others on a small machine.
        await new Promise((resolve) => { setTimeout(resolve, 2) })
      }
    }
    const changing = async (): Promise<void> => {
      for (let i = 0; !stop; i++) {
        const path = paths[i % paths.length]!
        const version = (versions.get(path) ?? 0) + 1
        versions.set(path, version)
        const by = proxies[i % 3]!
        const status = await by.purge(i % 4 === 0 ? { prefixes: [`http://site.example${path}`] } : { urls: [`http://site.example${path}`] })
        if (status === 200) {
          least.set(path, version)
          seen.acknowledged++
        } else if (status === 503) seen.refused++
        else failed.push(`${phase} purge ${status}`)
        await new Promise((resolve) => { setTimeout(resolve, 10) })
      }
    }
    /** Goes on until so much has been seen. */
    const more = async (requests: number, acknowledged: number): Promise<void> => {
      const from = { ...seen }
      await until(() => seen.requests >= from.requests + requests && seen.acknowledged >= from.acknowledged + acknowledged)
    }
    const work = [...proxies.map((one, i) => load(one, `proxy ${i}`)), changing()]
    await more(150, 5)
    t.ok(seen.hits > 0, 'it caches')

    phase = 'paused'
    server.pause()
    await more(150, 0)
    server.resume()
    phase = 'resumed'
    await more(150, 5)

    phase = 'stopped'
    await server.stop()
    await more(150, 0)
    await server.start()
    phase = 'restarted'
    await more(150, 5)

    phase = 'cut'
    cable.cut()
    await more(150, 0)
    cable.mend()
    phase = 'mended'
    await more(150, 5)

    phase = 'all three'
    cable.cut()
    server.pause()
    await more(150, 0)
    await server.stop()
    await server.start()
    cable.mend()
    await more(150, 5)
    stop = true
    await Promise.all(work)
    t.same(failed, [], 'no failed request')
    t.same(stale, [], 'no stale answer after a purge was acknowledged')
    t.comment(JSON.stringify(seen))
  })
})
