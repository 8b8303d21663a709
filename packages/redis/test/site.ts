import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type Test, until } from './servers.ts'

export interface Answer { readonly status: number; readonly body: string; readonly cache: string }

/** The truth: each path has a version that only ever grows, and every answer tells which it was when the request arrived. */
export interface Origin {
  readonly url: string
  readonly port: number
  readonly versions: Map<string, number>
  readonly fetched: Map<string, number>
  readonly hold: { ms: number }
}

export async function origin (t: Test): Promise<Origin> {
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
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, versions, fetched, hold }
}

export interface Proxy { readonly port: number; readonly child: ChildProcess; get (path: string): Promise<Answer>; purge (what: object): Promise<number> }

export async function proxy (t: Test, options: object): Promise<Proxy> {
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

/** Requests and purges at several proxies until it is ended, and what was wrong with the answers. */
export class Traffic {
  readonly failed: string[] = []
  readonly stale: string[] = []
  readonly seen = { requests: 0, hits: 0, acknowledged: 0, refused: 0 }
  phase = 'calm'
  readonly #proxies: readonly Proxy[]
  readonly #versions: Map<string, number>
  readonly #paths: readonly string[] = Array.from({ length: 12 }, (_, i) => `/${i % 4 === 0 ? 'long' : 'short'}/load-${i}`)
  /** The least version that may be seen of a path by requests that begin now. */
  readonly #least: Map<string, number> = new Map()
  readonly #work: readonly Promise<void>[]
  #stop = false

  constructor (proxies: readonly Proxy[], { versions }: Origin) {
    this.#proxies = proxies
    this.#versions = versions
    this.#work = [...proxies.map((one, i) => this.#ask(one, `proxy ${i}`)), this.#change()]
  }

  /** Goes on until so much more has been seen. */
  async more (requests: number, acknowledged: number): Promise<void> {
    const { seen } = this
    const from = { ...seen }
    await until(() => seen.requests >= from.requests + requests && seen.acknowledged >= from.acknowledged + acknowledged,
      () => `${requests} requests and ${acknowledged} purges more, while ${this.phase}: ${JSON.stringify(from)} to ${JSON.stringify(seen)}`)
  }

  async end (): Promise<void> {
    this.#stop = true
    await Promise.all(this.#work)
  }

  async #ask (which: Proxy, name: string): Promise<void> {
    for (let i = 0; !this.#stop; i++) {
      const path = this.#paths[(i * 7) % this.#paths.length]!
      const wanted = this.#least.get(path) ?? 0
      const where = (): string => `${this.phase} ${name} ${path}`
      try {
        const { status, body, cache } = await which.get(path)
        this.seen.requests++
        if (cache.includes('; hit')) this.seen.hits++
        if (status !== 200) this.failed.push(`${where()} ${status}`)
        else if (Number(body.split(' ')[0]) < wanted) this.stale.push(`${where()} ${body.slice(0, 6)} < ${wanted} ${cache}`)
      } catch (error) {
        this.failed.push(`${where()} ${(error as Error).message}`)
      }
      // Room for the others on a small machine.
      await new Promise((resolve) => { setTimeout(resolve, 2) })
    }
  }

  async #change (): Promise<void> {
    for (let i = 0; !this.#stop; i++) {
      const path = this.#paths[i % this.#paths.length]!
      const version = (this.#versions.get(path) ?? 0) + 1
      this.#versions.set(path, version)
      const by = this.#proxies[i % this.#proxies.length]!
      const status = await by.purge(i % 4 === 0 ? { prefixes: [`http://site.example${path}`] } : { urls: [`http://site.example${path}`] })
      if (status === 200) {
        this.#least.set(path, version)
        this.seen.acknowledged++
      } else if (status === 503) this.seen.refused++
      else this.failed.push(`${this.phase} purge ${status}`)
      await new Promise((resolve) => { setTimeout(resolve, 10) })
    }
  }
}
