import type { Clock, Timer } from '../../clock.ts'
import type { Target } from '../../target.ts'
import { type Open, open } from '../connect.ts'
import { type Attempt, type AttemptHandler, type Transport, TransportError, type TransportOptions, type TransportRequest, type TransportStats } from '../contract.ts'
import { Http2Attempt, type Http2Queue } from './attempt.ts'
import { Http2Connection, type Http2Owner, type Http2Settings } from './connection.ts'
import { requestFields } from './fields.ts'

const SWEEP = 1000
/** Longer than for HTTP/1.1, since closing one races with nothing: GOAWAY says which requests were not looked at. */
const KEEP_ALIVE = 60_000

/** Who speaks HTTP/1.1 where HTTP/2 cannot be had. */
export interface Fallback {
  readonly http1: Transport
  /** The upstream chose HTTP/1.1. */
  chosen (): void
}

/** HTTP/2 over `node:http2`: many requests on few connections, as many as the upstream's limits ask for. */
export class Http2Transport implements Transport, Http2Owner, Http2Queue {
  readonly #target: Target
  readonly #settings: Http2Settings
  readonly #keepAliveTimeout: number
  readonly #maxRequests: number
  readonly #maxAge: number
  readonly #maxConnections: number
  readonly #scheme: string
  readonly #clock: Clock
  readonly #onConnected: ((latency: number) => void) | undefined
  readonly #fallback: Fallback | undefined
  readonly #all = new Set<Http2Connection>()
  readonly #waiting = new Set<Http2Attempt>()
  #connecting = 0
  /** Requests that one connection takes, as far as is known. */
  #capacity: number
  #sweep: Timer = undefined
  #closing = false
  #whenClosed: (() => void)[] = []

  /** `fallback`: HTTP/1.1 is offered too, for when the upstream prefers it and for what HTTP/2 cannot do. `opener` is for tests. */
  constructor (target: Target, options: TransportOptions, clock: Clock, connected?: (latency: number) => void, fallback?: Fallback, opener: Open = open) {
    const http2 = options.http2 ?? {}
    this.#target = target
    this.#clock = clock
    this.#onConnected = connected
    this.#fallback = fallback
    this.#scheme = target.protocol === 'https:' ? 'https' : 'http'
    this.#keepAliveTimeout = options.keepAliveTimeout ?? KEEP_ALIVE
    this.#maxRequests = options.maxRequestsPerConnection ?? Infinity
    this.#maxAge = options.maxConnectionAge ?? 3_600_000
    this.#maxConnections = http2.maxConnections ?? 64
    this.#capacity = http2.maxStreams ?? 100
    this.#settings = {
      open: opener,
      connectTimeout: options.connectTimeout ?? 2000,
      maxHeadSize: options.maxHeadSize ?? 65_536,
      maxStreams: http2.maxStreams ?? 100,
      windowSize: http2.windowSize ?? 262_144,
      pingInterval: http2.pingInterval ?? 30_000,
      pingTimeout: http2.pingTimeout ?? 10_000,
      tls: options.tls ?? {},
      session: { last: undefined }
    }
  }

  get stats (): TransportStats {
    let idle = 0
    for (const connection of this.#all) if (connection.open && connection.active === 0) idle++
    return { open: this.#all.size - this.#connecting, idle, connecting: this.#connecting }
  }

  dispatch (request: TransportRequest, handler: AttemptHandler): Attempt {
    const fields = requestFields(request, this.#scheme)
    const attempt = new Http2Attempt(this, request, handler, fields ?? {})
    if (fields === undefined || this.#closing) {
      const error = this.#closing
        ? new TransportError('destroyed', 'connect', 'the transport is closed')
        : new TransportError('malformed', 'connect', 'the request cannot be sent over HTTP/2')
      process.nextTick(() => { attempt.fail(error) })
      return attempt
    }
    const connection = this.#waiting.size === 0 ? this.#roomy() : undefined
    if (connection !== undefined && this.#startOn(attempt, connection)) return attempt
    this.#waiting.add(attempt)
    this.#grow()
    return attempt
  }

  close (): Promise<void> {
    this.#closing = true
    for (const connection of Array.from(this.#all)) {
      if (connection.open && this.#waiting.size === 0) connection.retire()
      else if (!connection.open && this.#waiting.size === 0) connection.destroy()
    }
    if (this.#all.size === 0) return Promise.resolve()
    return new Promise((resolve) => { this.#whenClosed.push(resolve) })
  }

  destroy (): void {
    this.#closing = true
    this.#failWaiting(new TransportError('destroyed', 'connect', 'the transport is closed'))
    for (const connection of Array.from(this.#all)) connection.destroy()
  }

  left (attempt: Http2Attempt): void {
    this.#waiting.delete(attempt)
  }

  opened (connection: Http2Connection): void {
    this.#connecting--
    this.#onConnected?.(this.#clock.now() - connection.createdAt)
    if (this.#sweep === undefined) this.#sweep = this.#clock.setTimeout(this.#onSweep, SWEEP)
  }

  changed (connection: Http2Connection): void {
    const { room } = connection
    if (room > 0 && connection.active === 0) this.#capacity = room
    while (this.#waiting.size > 0 && connection.room > 0) {
      const [attempt] = this.#waiting
      this.#waiting.delete(attempt!)
      if (!this.#startOn(attempt!, connection)) {
        this.#waiting.add(attempt!)
        break
      }
    }
    if (this.#waiting.size > 0) this.#grow()
    else if (this.#closing || (this.#keepAliveTimeout === 0 && connection.active === 0 && connection.requests > 0)) connection.retire()
  }

  notHttp2 (connection: Http2Connection): void {
    if (this.#fallback === undefined) {
      return this.closed(connection, new TransportError('tls', 'connect', 'the upstream does not speak HTTP/2 (it did not choose h2 in the handshake)'))
    }
    this.#forget(connection, true)
    this.#fallback.chosen()
    for (const attempt of Array.from(this.#waiting)) this.#move(attempt)
  }

  closed (connection: Http2Connection, error: TransportError | undefined): void {
    this.#forget(connection, !connection.open)
    // As long as another one is there or on its way, it takes them.
    if (error !== undefined && this.#all.size === 0) this.#failWaiting(error)
    else if (this.#waiting.size > 0 && error === undefined) this.#grow()
  }

  #forget (connection: Http2Connection, connecting: boolean): void {
    this.#all.delete(connection)
    if (connecting) this.#connecting--
    if (this.#all.size === 0) for (const resolve of this.#whenClosed.splice(0)) resolve()
  }

  /** The connection with the fewest requests, of those that have room. */
  #roomy (): Http2Connection | undefined {
    let best: Http2Connection | undefined
    for (const connection of this.#all) if (connection.room > 0 && (best === undefined || connection.active < best.active)) best = connection
    return best
  }

  #startOn (attempt: Http2Attempt, connection: Http2Connection): boolean {
    const { upgrade } = attempt.request
    if (upgrade !== undefined && !(connection.tunnels && upgrade.toLowerCase() === 'websocket')) {
      if (this.#fallback !== undefined) this.#move(attempt)
      else {
        const error = new TransportError('connect-failed', 'connect', 'the upstream does not switch protocols over HTTP/2 (RFC 8441)')
        process.nextTick(() => { attempt.fail(error) })
      }
      return true
    }
    if (!attempt.start(connection)) {
      connection.retire()
      return false
    }
    const now = this.#clock.now()
    if (connection.requests >= this.#maxRequests || now - connection.createdAt >= this.#maxAge) connection.retire()
    return true
  }

  #move (attempt: Http2Attempt): void {
    this.#waiting.delete(attempt)
    attempt.move(this.#fallback!.http1.dispatch(attempt.request, attempt.handler))
  }

  /** Opens as many connections as those that wait need. */
  #grow (): void {
    while (this.#waiting.size > this.#connecting * this.#capacity && this.#live() < this.#maxConnections) {
      this.#connecting++
      this.#all.add(new Http2Connection(this, this.#target, this.#settings, this.#clock, this.#fallback === undefined ? ['h2'] : ['h2', 'http/1.1']))
    }
  }

  /** Connections that take requests or will; those that go away do not count. */
  #live (): number {
    let count = this.#connecting
    for (const connection of this.#all) if (connection.open && !connection.retired) count++
    return count
  }

  #failWaiting (error: TransportError): void {
    for (const attempt of Array.from(this.#waiting)) {
      this.#waiting.delete(attempt)
      attempt.fail(error)
    }
  }

  readonly #onSweep = (): void => {
    this.#sweep = undefined
    const now = this.#clock.now()
    for (const connection of Array.from(this.#all)) {
      const idle = connection.open && connection.active === 0
      if (idle && (now - connection.idleSince >= this.#keepAliveTimeout || now - connection.createdAt >= this.#maxAge)) connection.retire()
      else connection.tick(now)
    }
    if (this.#all.size > 0) this.#sweep = this.#clock.setTimeout(this.#onSweep, SWEEP)
  }
}
