import type { Attempt, AttemptHandler, TransportError } from '@headgate/core'
import { refuse } from '../refuse.ts'
import { parseStatuses, type StatusRange, statusesSchema } from '../statuses.ts'
import { failed, passed, type Probe, type ProbeKind, type ProbeResult, type ProbeTarget } from './contract.ts'

export interface HttpProbeOptions {
  /** Request target, with its slash in front. @default '/' */
  readonly path?: string
  /** @default 'GET' */
  readonly method?: string
  /** Fields sent beside `Host` and `User-Agent`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Value of `Host`. @default the upstream's own */
  readonly host?: string
  /** What counts as well: statuses and ranges, 100–599. Redirects are not followed. @default '200-399' */
  readonly statuses?: StatusRange | readonly StatusRange[]
  /**
   * What the body has to hold: a text, a pattern, or a function that is given the parsed JSON. Only the first `bodyLimit` bytes
   * are looked at, and JSON has to be complete within them.
   */
  readonly body?: string | RegExp | ((json: unknown) => boolean)
  /** Bytes of the body read at most, 1–16,777,216; the rest is cut off. @default 65536 */
  readonly bodyLimit?: number
}

const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/

type Matcher = (body: Buffer, complete: boolean) => ProbeResult | undefined

function matcher (body: NonNullable<HttpProbeOptions['body']>): Matcher {
  if (typeof body === 'string') {
    const wanted = Buffer.from(body)
    return (buffer) => buffer.includes(wanted) ? undefined : failed('the body does not hold the expected text')
  }
  if (body instanceof RegExp) {
    // With g or y a pattern remembers where it stopped, and every second check would fail.
    const pattern = new RegExp(body.source, body.flags.replace(/[gy]/g, ''))
    return (buffer) => pattern.test(buffer.toString('utf8')) ? undefined : failed(`the body does not match ${String(pattern)}`)
  }
  return (buffer, complete) => {
    if (!complete) return failed('the body is longer than bodyLimit, so it cannot be read as JSON')
    let json: unknown
    try {
      json = JSON.parse(buffer.toString('utf8'))
    } catch {
      return failed('the body is not JSON')
    }
    return body(json) ? undefined : failed('the body is not what was expected')
  }
}

/** One request and what came of it. */
class HttpCheck implements AttemptHandler {
  readonly #done: (result: ProbeResult) => void
  readonly #statuses: ReadonlySet<number>
  readonly #match: Matcher | undefined
  readonly #limit: number
  readonly #chunks: Buffer[] = []
  #length = 0
  #status = 0
  attempt: Attempt | undefined

  constructor (statuses: ReadonlySet<number>, match: Matcher | undefined, limit: number, done: (result: ProbeResult) => void) {
    this.#statuses = statuses
    this.#match = match
    this.#limit = limit
    this.#done = done
  }

  onSent (): void {}
  onInformational (): void {}
  onDrain (): void {}

  onHead (status: number): void {
    this.#status = status
    if (!this.#statuses.has(status)) return this.cut(failed(`status ${status}`))
    if (this.#match === undefined) this.cut(passed(`status ${status}`))
  }

  onData (chunk: Buffer): boolean {
    const part = Buffer.from(chunk.subarray(0, this.#limit - this.#length))
    this.#length += part.length
    this.#chunks.push(part)
    if (part.length < chunk.length) this.#judge(false)
    return true
  }

  onComplete (): void {
    this.#judge(true)
  }

  onUpgrade (_headers: readonly string[], socket: { destroy (): void }): void {
    socket.destroy()
    this.#done(failed('status 101, which was not asked for'))
  }

  onError (error: TransportError): void {
    const result = failed(`${error.code}: ${error.message}`)
    this.#done(error.code === 'no-sockets' ? { ...result, inconclusive: true } : result)
  }

  #judge (complete: boolean): void {
    try {
      this.cut(this.#match!(Buffer.concat(this.#chunks), complete) ?? passed(`status ${this.#status}`))
    } catch (error) {
      this.cut(failed(`the body's check threw: ${error instanceof Error ? error.message : String(error)}`))
    }
  }

  cut (result: ProbeResult): void {
    this.attempt?.abort()
    this.#done(result)
  }
}

class HttpProbe implements Probe {
  readonly kind = 'http'
  readonly #options: HttpProbeOptions
  readonly #statuses: ReadonlySet<number>
  readonly #match: Matcher | undefined

  constructor (options: HttpProbeOptions, path: string) {
    this.#options = options
    this.#statuses = parseStatuses(options.statuses ?? '200-399', `${path}.statuses`)
    this.#match = options.body === undefined ? undefined : matcher(options.body)
  }

  applies (): boolean { return true }

  check (target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult> {
    const { method = 'GET', headers = {}, host = target.upstream.target.host, path = '/', bodyLimit = 65_536 } = this.#options
    const list = ['Host', host, 'User-Agent', 'headgate-health', 'Accept', '*/*']
    for (const [name, value] of Object.entries(headers)) list.push(name, value)
    return new Promise((resolve) => {
      const check = new HttpCheck(this.#statuses, this.#match, bodyLimit, resolve)
      check.attempt = target.transport.dispatch({
        method, path: target.path ?? path, headers: list, body: null, emptyBody: false, upgrade: undefined, expectContinue: false
      }, check)
      signal.addEventListener('abort', () => { check.cut(failed('cut off')) }, { once: true })
    })
  }
}

export const http: ProbeKind<HttpProbeOptions> = {
  kind: 'http',
  describe: 'An HTTP/1.1 request, judged by status and body.',
  required: [],
  properties: {
    path: { type: 'string', pattern: '^/[\\x21-\\x7e]*$' },
    method: { type: 'string', pattern: '^[A-Z]+$' },
    headers: { type: 'object', additionalProperties: { type: 'string', pattern: '^[\\t\\x20-\\x7e\\x80-\\xff]*$' } },
    host: { type: 'string', pattern: '^[^\\s/@]+$' },
    statuses: statusesSchema,
    body: {},
    bodyLimit: { type: 'integer', minimum: 1, maximum: 16_777_216 }
  },
  create (options, path) {
    const { body, headers = {}, method } = options
    if (body !== undefined && typeof body !== 'string' && typeof body !== 'function' && !(body instanceof RegExp)) {
      refuse(`${path}.body`, 'must be a string, a RegExp or a function of the parsed JSON', body)
    }
    if (body !== undefined && method === 'HEAD') refuse(`${path}.body`, 'cannot be looked at with the method HEAD', body)
    for (const name of Object.keys(headers)) if (!TOKEN.test(name)) refuse(`${path}.headers`, 'must have tokens as names', name)
    return new HttpProbe(options, path)
  }
}
