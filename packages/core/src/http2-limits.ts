import type { EventEmitter } from 'node:events'
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { SchemaObject } from 'ajv'
import { channels, type Http2LimitMessage } from './channels.ts'
import { type Clock, systemClock } from './clock.ts'
import { checkOptions, type OptionUnit } from './options.ts'

/** So many at once, and then so many a second. */
export interface Http2Rate {
  /** 1–1,000,000. */
  readonly burst: number
  /** A second, 0–1,000,000. */
  readonly rate: number
}

/** What one connection of a client may do over HTTP/2. Who goes over a rate is told ENHANCE_YOUR_CALM, and its connection is closed. */
export interface Http2Limits {
  /** Streams open at once, 1–100,000: SETTINGS_MAX_CONCURRENT_STREAMS. Further ones are refused. @default 128 */
  readonly maxConcurrentStreams?: number
  /**
   * Bytes of a request's fields, each counted with 32 more (RFC 9113 6.5.2), 1024–16,777,216. Longer ones get status 431; those of
   * twice as much are reset. @default 65536
   */
  readonly maxHeaderListSize?: number
  /** Streams that the client reset before they were answered (CVE-2023-44487), and requests that got status 431. @default { burst: 500, rate: 30 } */
  readonly resets?: false | Http2Rate
  /** PINGs, but for those of a client to which data went meanwhile: it measures. @default { burst: 500, rate: 10 } */
  readonly pings?: false | Http2Rate
  /** SETTINGS. @default { burst: 50, rate: 1 } */
  readonly settings?: false | Http2Rate
}

export interface Http2LimitsEnvironment {
  /** @default the system's */
  readonly clock?: Clock
  /** A limit was met: to be logged. */
  readonly told?: (message: Http2LimitMessage) => void
}

/** A server of node:http2, with TLS or without. */
export interface LimitedServer extends EventEmitter {
  updateSettings (settings: { maxConcurrentStreams?: number; maxHeaderListSize?: number }): void
}

const rate = {
  anyOf: [{ const: false }, {
    type: 'object', additionalProperties: false, required: ['burst', 'rate'],
    properties: {
      burst: { type: 'integer', minimum: 1, maximum: 1_000_000 }, rate: { type: 'number', minimum: 0, maximum: 1_000_000 }
    } satisfies Record<keyof Http2Rate, object>
  }]
}

/** JSON Schema of {@link Http2Limits}. */
export const http2LimitsSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  properties: {
    maxConcurrentStreams: { type: 'integer', minimum: 1, maximum: 100_000 },
    maxHeaderListSize: { type: 'integer', minimum: 1024, maximum: 16_777_216, unit: 'bytes' satisfies OptionUnit },
    resets: rate,
    pings: rate,
    settings: rate
  } satisfies Record<keyof Http2Limits, object>
}

type Reason = Http2LimitMessage['reason']

/** For log lines. */
export const HTTP2_LIMIT = 'a client met a limit of HTTP/2'

/** RFC 9113 7: the peer does too much. */
const ENHANCE_YOUR_CALM = 11
/** Bytes to a client between two PINGs that make the second one a measurement of the path; answers to PINGs alone stay below. */
const MEASURED = 1024

/** What node:http2 closes connections for by itself, by its codes and nghttp2's numbers. */
const BY_NODE: Readonly<Record<string, Reason>> = {
  ERR_HTTP2_TOO_MANY_INVALID_FRAMES: 'invalid-frames',
  '-904': 'unread-answers',
  '-905': 'continuations'
}

/** A bucket of tokens. */
class Budget {
  readonly #burst: number
  readonly #perMs: number
  #left: number
  #at: number

  constructor ({ burst, rate }: Http2Rate, now: number) {
    this.#burst = this.#left = burst
    this.#perMs = rate / 1000
    this.#at = now
  }

  /** False: it is empty. */
  take (now: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (now - this.#at) * this.#perMs)
    this.#at = now
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}

type Kind = 'resets' | 'pings' | 'settings'

interface Rules extends Required<Http2Limits> {
  readonly clock: Clock
  readonly tell: (reason: Reason, closed: boolean, remoteAddress: string) => void
}

/** One connection. */
class Watch {
  /** Node forgets it when the connection is closed. */
  readonly remoteAddress: string
  readonly #session: ServerHttp2Session
  readonly #rules: Rules
  /** Made when first needed. */
  readonly #budgets: { [kind in Kind]?: Budget } = {}
  readonly #onStreamClose: (this: ServerHttp2Stream) => void
  #written = 0

  constructor (session: ServerHttp2Session, rules: Rules) {
    this.#session = session
    this.#rules = rules
    this.remoteAddress = session.socket?.remoteAddress ?? ''
    // eslint-disable-next-line typescript/no-this-alias
    const watch = this
    // The stream is `this`: one function does for all of them.
    this.#onStreamClose = function () { if (wasReset(this)) watch.take('resets') }
    if (rules.pings !== false) session.on('ping', this.#onPing)
    if (rules.settings !== false) session.on('remoteSettings', this.#onSettings)
  }

  follow (stream: ServerHttp2Stream): void {
    if (this.#rules.resets !== false) stream.on('close', this.#onStreamClose)
  }

  /** Closes the connection when there was too much of it. */
  take (kind: Kind): void {
    const { [kind]: limit, clock, tell } = this.#rules
    if (limit === false || this.#session.destroyed) return
    const now = clock.now()
    const budget = this.#budgets[kind] ??= new Budget(limit, now)
    if (budget.take(now)) return
    tell(kind, true, this.remoteAddress)
    // Without an error: whoever listens to streams need not hear of what the client is to blame for.
    this.#session.destroy(null as never, ENHANCE_YOUR_CALM)
  }

  readonly #onSettings = (): void => { this.take('settings') }

  readonly #onPing = (): void => {
    if (this.#session.destroyed) return
    const { bytesWritten } = this.#session.socket
    const measures = bytesWritten - this.#written >= MEASURED
    this.#written = bytesWritten
    if (!measures) this.take('pings')
  }
}

/** Did the client reset it? What the server itself gave up has another error, or none. */
function wasReset ({ rstCode, aborted, errored }: ServerHttp2Stream): boolean {
  if (errored !== null && (errored as NodeJS.ErrnoException).code !== 'ERR_HTTP2_STREAM_ERROR') return false
  return rstCode !== 0 || aborted
}

/** Is a list of names and values longer than SETTINGS_MAX_HEADER_LIST_SIZE counts? A client need not have acknowledged that. */
function isLonger (fields: readonly string[], size: number): boolean {
  let length = fields.length * 16
  for (const text of fields) length += text.length
  return length > size
}

type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, fields: string[]) => void

/**
 * Bounds what clients may do to a server of node:http2 that has its listener for requests already. Call it before the server listens,
 * once. Each limit that is met is told on the channel `headgate:http2:limit`. Throws `HG_POOL_INVALID_OPTION` for `path`.
 */
export function limitHttp2 (server: LimitedServer, limits: Http2Limits = {}, environment: Http2LimitsEnvironment = {}, path = 'options'): void {
  checkOptions(http2LimitsSchema, limits, path)
  const rules: Rules = {
    maxConcurrentStreams: 128, maxHeaderListSize: 65_536, resets: { burst: 500, rate: 30 }, pings: { burst: 500, rate: 10 }, settings: { burst: 50, rate: 1 },
    ...limits,
    clock: environment.clock ?? systemClock,
    tell: (reason, closed, remoteAddress) => {
      if (environment.told === undefined && !channels.http2Limit.hasSubscribers) return
      const message: Http2LimitMessage = { reason, closed, remoteAddress }
      environment.told?.(message)
      if (channels.http2Limit.hasSubscribers) channels.http2Limit.publish(message)
    }
  }
  const { maxConcurrentStreams, maxHeaderListSize } = rules
  // Node resets what is longer than it has told, which is no answer that a client's user could read.
  server.updateSettings({ maxConcurrentStreams, maxHeaderListSize: 2 * maxHeaderListSize })
  const watches = new WeakMap<ServerHttp2Session, Watch>()
  server.on('session', (session: ServerHttp2Session) => { watches.set(session, new Watch(session, rules)) })
  server.on('sessionError', (error: NodeJS.ErrnoException, session: ServerHttp2Session) => {
    if (error.code?.startsWith('ERR_HTTP2_') === true) rules.tell(BY_NODE[error.code] ?? BY_NODE[String(error.errno)] ?? 'protocol', true, watches.get(session)?.remoteAddress ?? '')
  })

  const listeners = server.listeners('stream') as OnStream[]
  server.removeAllListeners('stream')
  const onStream: OnStream = (stream, headers, flags, fields) => {
    const { session } = stream
    const watch = session === undefined ? undefined : watches.get(session as ServerHttp2Session)
    if (isLonger(fields, maxHeaderListSize)) {
      refuseHead(stream)
      rules.tell('header-list', false, watch?.remoteAddress ?? '')
      return watch?.take('resets')
    }
    watch?.follow(stream)
    for (const listener of listeners) listener.call(server, stream, headers, flags, fields)
  }
  server.on('stream', onStream)
}

function refuseHead (stream: ServerHttp2Stream): void {
  if (stream.destroyed) return
  stream.on('error', () => {})
  stream.respond({ ':status': 431 }, { endStream: true })
  // Not at once: the reset would overtake the answer (Node 22).
  setImmediate(() => { stream.close(0) })
}
