import type { ConnectionOptions } from 'node:tls'
import type { DiscoveredUpstream, Discovery, DiscoveryKind, DiscoverySite } from './contract.ts'
import { entriesOf, SameEntries } from './entries.ts'
import { timeSchema } from './options.ts'
import { again, spread } from './pace.ts'
import { type Answer, apiSchema, jsonOf, LIMIT, Source } from './source.ts'

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

/** Milliseconds until a stream that ended is asked for anew, unless the server says otherwise; and what it may say. */
const RETRY = 1000
const MIN_RETRY = 100
const MAX_RETRY = 60_000

class HttpDiscovery implements Discovery {
  readonly name = 'http'
  readonly #options: HttpDiscoveryOptions
  readonly #same = new SameEntries()
  #etag: string | undefined
  /** What the tag belongs to. */
  #members: readonly DiscoveredUpstream[] = []
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
          // Fields are bytes; an id may have any letters.
          ...this.#lastEventId !== '' && { 'last-event-id': Buffer.from(this.#lastEventId).toString('latin1') }
        }
      })
      if (answer.status === 200 && /^text\/event-stream\b/i.test(answer.header('content-type') ?? '')) {
        try {
          await this.#listen(answer, site)
        } catch (error) {
          site.signal.throwIfAborted()
          site.failed(error)
        }
        return spread(site, this.#retry)
      }
      if (answer.status === 304) await answer.text()
      else {
        this.#members = this.#same.of(entriesOf(await jsonOf(answer)))
        this.#etag = answer.header('etag')
      }
      // The same as before is an answer too.
      site.update(this.#members)
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
      onRetry: (ms) => { this.#retry = Math.max(MIN_RETRY, Math.min(ms, MAX_RETRY)) },
      onError: (error) => { if (error.type === 'max-buffer-size-exceeded') throw new Error(`an event of more than ${LIMIT} characters`) },
      maxBufferSize: LIMIT
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
