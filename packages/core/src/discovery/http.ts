import type { ConnectionOptions } from 'node:tls'
import type { Discovery, DiscoveryKind, DiscoverySite } from './contract.ts'
import { entriesOf, SameEntries } from './entries.ts'
import { timeSchema } from './options.ts'
import { again, spread } from './pace.ts'
import { type Answer, apiSchema, jsonOf, Source } from './source.ts'

export interface HttpDiscoveryOptions {
  /** `http:` or `https:`. Answers with a list of upstreams as JSON, or with a stream of events each of which is a whole list. */
  readonly url: string
  /** Milliseconds from one question to the next, 10–86,400,000; not for streams. @default 5000 */
  readonly interval?: number
  /** Milliseconds to the response head, 1–600,000. @default 5000 */
  readonly timeout?: number
  /** Milliseconds without a byte after which a stream is asked for anew, 1–86,400,000. @default 60000 */
  readonly idleTimeout?: number
  /** Fields of the request. @default none */
  readonly headers?: Readonly<Record<string, string>>
  /** What `tls.connect` takes. @default the system's certificate authorities */
  readonly tls?: ConnectionOptions
}

/** Milliseconds until a stream that ended is asked for anew, unless the server says otherwise. */
const RETRY = 1000
const MAX_RETRY = 60_000

class HttpDiscovery implements Discovery {
  readonly name = 'http'
  readonly #options: HttpDiscoveryOptions
  readonly #same = new SameEntries()
  #etag: string | undefined
  #lastEventId = ''
  #retry = RETRY

  constructor (options: HttpDiscoveryOptions) {
    this.#options = options
  }

  async start (site: DiscoverySite): Promise<void> {
    const { url, headers = {}, tls = {}, interval = 5000, timeout = 5000, idleTimeout = 60_000 } = this.#options
    const source = new Source(url, tls, async () => headers)
    await again(site, async () => {
      const answer = await source.get('', {
        signal: site.signal, headTimeout: timeout, idleTimeout,
        headers: {
          accept: 'text/event-stream, application/json;q=0.9',
          ...this.#etag !== undefined && { 'if-none-match': this.#etag },
          ...this.#lastEventId !== '' && { 'last-event-id': this.#lastEventId }
        }
      })
      if (answer.status === 200 && /^text\/event-stream\b/i.test(answer.header('content-type') ?? '')) {
        await this.#listen(answer, site)
        return spread(site, this.#retry)
      }
      if (answer.status === 304) await answer.text()
      else {
        site.update(this.#same.of(entriesOf(await jsonOf(answer))))
        this.#etag = answer.header('etag')
      }
      return spread(site, interval)
    })
  }

  /** Server-sent events, as in the HTML standard. An event that is wrong is told, and the next one is awaited. */
  async #listen (answer: Answer, site: DiscoverySite): Promise<void> {
    const { createParser } = await import('eventsource-parser')
    const parser = createParser({
      onEvent: ({ id, event = 'message', data }) => {
        if (id !== undefined) this.#lastEventId = id
        if (event !== 'message') return
        try {
          site.update(this.#same.of(entriesOf(JSON.parse(data))))
        } catch (error) {
          site.failed(error)
        }
      },
      onRetry: (ms) => { this.#retry = Math.min(ms, MAX_RETRY) }
    })
    for await (const chunk of answer.chunks()) parser.feed(chunk)
  }
}

/** A list at an address. */
export const http: DiscoveryKind<HttpDiscoveryOptions> = {
  type: 'http',
  describe: 'A list at an HTTP address: asked for again and again, or a stream of server-sent events.',
  properties: {
    url: apiSchema,
    interval: timeSchema(10, 86_400_000),
    timeout: timeSchema(1, 600_000),
    idleTimeout: timeSchema(1, 86_400_000),
    headers: { type: 'object', additionalProperties: { type: 'string' } },
    tls: { type: 'object' }
  },
  required: ['url'],
  keepWhenEmpty: false,
  create: (options) => new HttpDiscovery(options)
}
