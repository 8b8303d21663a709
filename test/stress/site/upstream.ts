import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Random } from '@headgate/core'
import { kindOf, page, rangeOf } from './pages.ts'

/** What all upstreams have in common: the version of each URL, which every POST increments. */
export class Truth {
  readonly versions: Map<string, number> = new Map()
  /** Ids of POSTs that were carried out. */
  readonly posts: Set<string> = new Set()
  readonly faults: string[] = []

  version (url: string): number { return this.versions.get(url) ?? 1 }

  post (url: string, id: string): number {
    if (this.posts.has(id)) this.faults.push(`POST ${url} ${id} was carried out twice`)
    this.posts.add(id)
    const version = this.version(url) + 1
    this.versions.set(url, version)
    return version
  }
}

/** An origin server that may be killed, under whatever it is doing, and started again. */
export class Upstream {
  readonly #name: string
  readonly #truth: Truth
  readonly #random: Random
  readonly #sockets: Set<Socket> = new Set()
  #server: Server | undefined
  #port = 0

  constructor (name: string, truth: Truth, random: Random) {
    this.#name = name
    this.#truth = truth
    this.#random = random
  }

  get url (): string { return `http://127.0.0.1:${this.#port}` }

  async start (): Promise<void> {
    const server = this.#server = createServer((request, response) => { void this.#answer(request, response) })
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => { this.#sockets.delete(socket) })
    })
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    this.#port = (server.address() as AddressInfo).port
  }

  async kill (): Promise<void> {
    const server = this.#server!
    const closed = once(server, 'close')
    server.close()
    // As of a killed process: an end where all was read, else a reset.
    for (const socket of this.#sockets) if (this.#random() < 0.5) socket.destroy(); else socket.resetAndDestroy()
    await closed
  }

  async #answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = request.url!
    if (url === '/alive') return void response.end('yes')
    response.setHeader('x-by', this.#name)
    try {
      if (request.method === 'POST') await this.#post(url, request, response)
      else await this.#get(url, request, response)
    } catch {
      // The connection is gone.
    }
  }

  async #post (url: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    let length = 0
    for await (const chunk of request as AsyncIterable<Buffer>) length += chunk.length
    if (String(length) !== request.headers['x-length']) this.#truth.faults.push(`POST ${url}: ${length} bytes of ${String(request.headers['x-length'])} came`)
    const version = this.#truth.post(url, String(request.headers['x-id']))
    await this.#dawdle()
    response.end(String(version))
  }

  async #get (url: string, { method, headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    // Answers overtake one another: that of an old version may arrive after a POST was acknowledged.
    const version = this.#truth.version(url)
    await this.#dawdle()
    const kind = kindOf(url)
    const user = /\buser=(\w+)/.exec(headers.cookie ?? '')?.[1] ?? ''
    const plain = page(url, user, version)
    const coded = kind.coded === true && /\bgzip\b/.test(String(headers['accept-encoding']))
    const etag = coded ? plain.etag.replace(/"$/, '-gzip"') : plain.etag
    response.setHeader('cache-control', kind.cacheControl).setHeader('etag', etag).setHeader('x-version', version)
    if (kind.coded === true) response.setHeader('vary', 'accept-encoding')
    if (headers['if-none-match']?.includes(etag) === true) return void response.writeHead(304).end()
    response.setHeader('content-type', 'text/plain')
    if (coded) response.setHeader('content-encoding', 'gzip')
    let body = coded ? gzipSync(plain.body) : plain.body
    if (method === 'GET' && headers.range !== undefined && !coded && (headers['if-range'] ?? etag) === etag) {
      const range = rangeOf(headers.range, body.length)
      if (range === undefined) return void response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end()
      response.writeHead(206, { 'content-range': `bytes ${range.first}-${range.last}/${body.length}` })
      body = body.subarray(range.first, range.last + 1)
    } else if (this.#random() < 0.5) response.setHeader('content-length', body.length)
    if (method === 'HEAD') return void response.end()
    for (let at = 0; at < body.length; at += 20_000) {
      response.write(body.subarray(at, at + 20_000))
      await this.#dawdle()
    }
    response.end()
  }

  /** For some turns of the event loop, so that much is under way at once. */
  async #dawdle (): Promise<void> {
    for (let turns = Math.floor(this.#random() ** 3 * 30); turns > 0; turns--) await new Promise((resolve) => { setImmediate(resolve) })
  }
}
