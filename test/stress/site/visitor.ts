import { Agent, type IncomingMessage, request } from 'node:http'
import type { Random } from '@headgate/core'
import { type Answer, type Asked, codings, wrong } from './check.ts'
import { kinds, page } from './pages.ts'
import type { Truth } from './upstream.ts'

/** What visitors share: where they go, what must not be forgotten, and what happened. */
export interface Site {
  readonly port: number
  readonly truth: Truth
  /** By URL, the last version that a POST was acknowledged with. */
  readonly acknowledged: Map<string, number>
  readonly users: readonly string[]
  /** Changes whenever an upstream is killed; a transfer under way at that moment may end early. */
  readonly disturbance: () => number
  readonly seen: Map<string, number>
  readonly faults: string[]
}

const ENCODINGS = ['gzip', 'br', 'zstd', 'deflate', 'gzip, deflate, br, zstd', 'br;q=0.5, gzip', 'identity', 'zstd;q=0.8, br;q=0.9', undefined]

/** One client of a user: asks one thing after the other, whatever comes to its mind, and checks each answer. */
export class Visitor {
  readonly #site: Site
  readonly #user: string
  readonly #random: Random
  readonly #name: string
  readonly #agent: Agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #urls: readonly string[]
  /** The session's cookie. */
  #session = ''
  #asked = 0

  constructor (site: Site, user: string, random: Random, name: string) {
    this.#site = site
    this.#user = user
    this.#random = random
    this.#name = name
    this.#urls = Object.keys(kinds).flatMap((kind) => Array.from({ length: 5 }, (_, n) => `/${kind}/${n}`))
  }

  /** Asks so many things. */
  async roam (requests: number): Promise<void> {
    try {
      while (this.#asked < requests) await (this.#random() < 0.08 ? this.#post() : this.#get())
    } finally {
      this.#agent.destroy()
    }
  }

  /** Who answers a page of his own. */
  async home (): Promise<string> {
    return String((await this.#send('GET', '/private/0', {}, undefined, false))!.headers['x-by'])
  }

  #count (what: string): void { this.#site.seen.set(what, (this.#site.seen.get(what) ?? 0) + 1) }
  #one<T> (list: readonly T[]): T { return list[Math.floor(this.#random() * list.length)]! }
  #fault (what: string): void { this.#site.faults.push(`${this.#name} of ${this.#user}, its request ${this.#asked}: ${what}`) }

  /** Some pages are asked for more often than others. */
  #url (): string {
    return this.#urls[Math.floor(this.#random() ** 2 * this.#urls.length)]!
  }

  async #post (): Promise<void> {
    const { acknowledged } = this.#site
    const url = this.#url()
    const content = Buffer.alloc(Math.floor(this.#random() ** 4 * 200_000), this.#name)
    const answer = await this.#send('POST', url, { 'x-id': `${this.#name}-${this.#asked}`, 'x-length': String(content.length) }, content, this.#random() < 0.1)
    if (answer?.status === 200) {
      this.#count('POST')
      const version = Number(answer.body.toString())
      // Those who ask from now on must not see less.
      acknowledged.set(url, Math.max(acknowledged.get(url) ?? 1, version))
    } else if (answer !== undefined) this.#fault(`POST ${url}: ${answer.status} ${answer.body.toString()}`)
  }

  async #get (): Promise<void> {
    const { acknowledged, truth } = this.#site
    const url = this.#url()
    const least = acknowledged.get(url) ?? 1
    const method = this.#random() < 0.1 ? 'HEAD' as const : 'GET' as const
    const asked: Asked = { method, url, user: this.#user, headers: this.#fields(url), least }
    const answer = await this.#send(method, url, asked.headers, undefined, this.#random() < 0.08)
    if (answer === undefined) return
    const problem = wrong(asked, answer, truth.version(url))
    if (problem !== undefined) this.#fault(`${method} ${url} ${JSON.stringify(asked.headers)}: ${problem}; it got ${answer.status} ${JSON.stringify(answer.headers)}`)
    this.#count(method === 'HEAD' ? 'HEAD' : String(answer.status))
    const coding = answer.headers['content-encoding']
    if (coding !== undefined) this.#count(coding)
    if (/; hit/.test(String(answer.headers['cache-status']))) this.#count('hit')
    if (/; collapsed/.test(String(answer.headers['cache-status']))) this.#count('collapsed')
  }

  #fields (url: string): Record<string, string> {
    const fields: Record<string, string> = {}
    const encodings = this.#one(ENCODINGS)
    if (encodings !== undefined) fields['accept-encoding'] = encodings
    const what = this.#random()
    if (what < 0.25) fields['if-none-match'] = this.#etags(url)
    else if (what < 0.5) {
      const [from, to] = [Math.floor(this.#random() ** 2 * 12_000), Math.floor(this.#random() * 5000)]
      fields['range'] = this.#one([`bytes=${from}-${from + to}`, `bytes=${from}-`, `bytes=-${to + 1}`])
      if (this.#random() < 0.3) fields['if-range'] = this.#etag(url, this.#user)
    }
    return fields
  }

  /** Of the version that it is now, or a former one. */
  #etag (url: string, user: string): string {
    const version = this.#site.truth.version(url)
    return page(url, user, this.#random() < 0.7 ? version : Math.max(1, version - 1)).etag
  }

  #etags (url: string): string {
    const some = [this.#etag(url, this.#user)]
    // What another one has is nothing that this one has.
    if (this.#random() < 0.5) some[this.#random() < 0.5 ? 1 : 0] = this.#etag(url, this.#one(this.#site.users))
    return some.map((etag) => `W/${etag}`.slice(this.#random() < 0.5 ? 0 : 2)).join(', ')
  }

  /** `undefined`: it left before the end, or an upstream was killed meanwhile. */
  #send (method: string, path: string, fields: Asked['headers'], content: Buffer | undefined, leaves: boolean): Promise<Answer | undefined> {
    this.#asked++
    const before = this.#site.disturbance()
    const cookie = `user=${this.#user}${this.#session}`
    return new Promise((resolve) => {
      let left = false
      const leave = (): void => {
        left = true
        this.#count('left')
        outgoing.destroy()
      }
      const end = (problem: string): void => {
        if (!left && before === this.#site.disturbance()) this.#fault(`${method} ${path}: ${problem}`)
        else if (!left) this.#count('cut')
        resolve(undefined)
      }
      const outgoing = request({ port: this.#site.port, host: '127.0.0.1', agent: this.#agent, method, path, headers: { host: 'site.example', cookie, ...fields } }, (response) => { take(response) })
      outgoing.on('error', ({ message }) => { end(message) })
      outgoing.end(content)
      const take = (response: IncomingMessage): void => {
        for (const one of response.headers['set-cookie'] ?? []) this.#session = `; ${one.split(';')[0]}`
        const pieces: Buffer[] = []
        response.on('data', (piece: Buffer) => {
          pieces.push(piece)
          if (leaves) leave()
        })
        response.on('error', () => {})
        response.on('close', () => {
          const { statusCode: status = 0, headers, complete } = response
          // Where it leaves, what came last may not have been handed over. An upstream that dies may have taken a POST along, or begun its answer.
          if (left || !complete) end('it broke off')
          else if (status === 502 && before !== this.#site.disturbance()) end(String(status))
          else resolve({ status, headers, body: Buffer.concat(pieces) })
        })
      }
      // Before the head comes, or within the body.
      if (leaves && this.#random() < 0.5) {
        let turns = Math.floor(this.#random() * 20)
        const wait = (): void => { if (turns-- > 0) setImmediate(wait); else leave() }
        wait()
      }
    })
  }
}

/** Of this Node's codings, those that some visitor asks for. */
export const wanted: readonly string[] = codings.filter((coding) => ENCODINGS.some((list) => list?.includes(coding)))
