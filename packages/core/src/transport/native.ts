import type { Clock, Timer } from '../clock.ts'
import type { Target } from '../target.ts'
import { type Open, open } from './connect.ts'
import { Connection, type ConnectionOwner, type ConnectionSettings, NativeAttempt } from './connection.ts'
import { type Attempt, type AttemptHandler, type Transport, TransportError, type TransportOptions, type TransportRequest, type TransportStats } from './contract.ts'
import { ReadBuffers } from './read-buffers.ts'

const SWEEP = 1000
/** An upstream's hint is believed up to here. */
const MAX_HINT = 600_000

/** Our own HTTP/1.1 client: connections with a reused read buffer, kept and lent last-in first-out. */
export class NativeTransport implements Transport, ConnectionOwner {
  readonly #target: Target
  readonly #settings: ConnectionSettings
  readonly #keepAliveTimeout: number
  readonly #freshFor: number
  readonly #maxIdle: number
  readonly #maxRequests: number
  readonly #maxAge: number
  readonly #clock: Clock
  readonly #onConnected: ((latency: number) => void) | undefined
  readonly #all = new Set<Connection>()
  readonly #idle: Connection[] = []
  #connecting = 0
  #sweep: Timer = undefined
  #closing = false
  #whenClosed: (() => void)[] = []

  /** `opener` is for tests: it gives the sockets. `connected` hears how many milliseconds each new connection took. */
  constructor (target: Target, options: TransportOptions, clock: Clock, opener: Open = open, connected?: (latency: number) => void) {
    this.#target = target
    this.#clock = clock
    this.#onConnected = connected
    this.#keepAliveTimeout = options.keepAliveTimeout ?? 4000
    this.#freshFor = options.freshFor ?? 1000
    this.#maxIdle = options.maxIdle ?? 256
    this.#maxRequests = options.maxRequestsPerConnection ?? Infinity
    this.#maxAge = options.maxConnectionAge ?? 3_600_000
    this.#settings = {
      open: opener,
      connectTimeout: options.connectTimeout ?? 2000,
      maxHeadSize: options.maxHeadSize ?? 65_536,
      unknownCodings: options.transferCodings === 'unknown',
      tls: options.tls ?? {},
      session: { last: undefined },
      buffers: new ReadBuffers(options.readBufferSize ?? 262_144)
    }
  }

  get stats (): TransportStats {
    return { open: this.#all.size - this.#connecting, idle: this.#idle.length, connecting: this.#connecting }
  }

  dispatch (request: TransportRequest, handler: AttemptHandler): Attempt {
    if (this.#closing) {
      process.nextTick(() => { handler.onError(new TransportError('destroyed', 'connect', 'the transport is closed')) })
      return new NativeAttempt(request, handler, undefined)
    }
    const connection = (request.upgrade === undefined ? this.#reusable(request.once === true) : undefined) ?? this.#connect(request.upgrade !== undefined)
    const attempt = new NativeAttempt(request, handler, connection)
    connection.start(attempt)
    return attempt
  }

  close (): Promise<void> {
    this.#closing = true
    for (const connection of this.#idle.slice()) connection.destroy()
    if (this.#all.size === 0) return Promise.resolve()
    return new Promise((resolve) => { this.#whenClosed.push(resolve) })
  }

  destroy (): void {
    this.#closing = true
    for (const connection of Array.from(this.#all)) connection.destroy()
  }

  connected (connection: Connection): void {
    this.#connecting--
    this.#onConnected?.(this.#clock.now() - connection.createdAt)
  }

  idle (connection: Connection): boolean {
    if (this.#closing || this.#keepAliveTimeout === 0 || this.#maxIdle === 0 || connection.requests >= this.#maxRequests) return false
    const now = this.#clock.now()
    // Earlier than the server's own timeout by up to a second, so that a request does not cross its FIN (RFC 9112 9.5).
    const hint = connection.keepAliveHint * 1000
    const timeout = hint < 0 ? this.#keepAliveTimeout : Math.min(hint - Math.min(1000, hint / 2), MAX_HINT)
    if (timeout <= 0 || now - connection.createdAt >= this.#maxAge) return false
    // The one that has rested longest goes: requests that want a connection used lately would find none but old ones, and open one each.
    if (this.#idle.length >= this.#maxIdle) this.#idle.shift()!.destroy()
    connection.idleSince = now
    connection.idleUntil = Math.min(now + timeout, connection.createdAt + this.#maxAge)
    this.#idle.push(connection)
    if (this.#sweep === undefined) this.#sweep = this.#clock.setTimeout(this.#onSweep, SWEEP)
    return true
  }

  closed (connection: Connection, connecting: boolean): void {
    this.#all.delete(connection)
    if (connecting) this.#connecting--
    const at = this.#idle.lastIndexOf(connection)
    if (at !== -1) this.#idle.splice(at, 1)
    if (this.#all.size === 0) for (const resolve of this.#whenClosed.splice(0)) resolve()
  }

  /** The one that was used last. `fresh`: none if that is too long ago. */
  #reusable (fresh: boolean): Connection | undefined {
    if (this.#idle.length === 0) return undefined
    const now = this.#clock.now()
    if (fresh && now - this.#idle.at(-1)!.idleSince >= this.#freshFor) return undefined
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.idleUntil > now) return connection
      connection.destroy()
    }
    return undefined
  }

  #connect (raw: boolean): Connection {
    const connection = new Connection(this, this.#target, this.#settings, this.#clock, raw)
    this.#connecting++
    this.#all.add(connection)
    return connection
  }

  readonly #onSweep = (): void => {
    this.#sweep = undefined
    const now = this.#clock.now()
    for (const connection of this.#idle.filter((idle) => idle.idleUntil <= now)) connection.destroy()
    for (const connection of this.#idle) connection.rest()
    if (this.#idle.length > 0) this.#sweep = this.#clock.setTimeout(this.#onSweep, SWEEP)
  }
}
