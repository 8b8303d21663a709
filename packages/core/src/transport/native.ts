import type { Clock, Timer } from '../clock.ts'
import type { Target } from '../target.ts'
import { Connection, type ConnectionOwner, type ConnectionSettings } from './connection.ts'
import type { Attempt, AttemptHandler, Transport, TransportOptions, TransportRequest, TransportStats } from './contract.ts'

/** Our own HTTP/1.1 client: connections with a reused read buffer, kept and lent last-in first-out. */
export class NativeTransport implements Transport, ConnectionOwner {
  readonly #target: Target
  readonly #settings: ConnectionSettings
  readonly #keepAliveTimeout: number
  readonly #maxIdle: number
  readonly #maxRequests: number
  readonly #maxAge: number
  readonly #clock: Clock
  readonly #all = new Set<Connection>()
  readonly #idle: Connection[] = []
  #sweep: Timer = undefined
  #closing: (() => void) | undefined

  constructor (target: Target, options: TransportOptions, clock: Clock) {
    this.#target = target
    this.#clock = clock
    this.#keepAliveTimeout = options.keepAliveTimeout ?? 4000
    this.#maxIdle = options.maxIdle ?? 256
    this.#maxRequests = options.maxRequestsPerConnection ?? Infinity
    this.#maxAge = options.maxConnectionAge ?? 3_600_000
    this.#settings = {
      connectTimeout: options.connectTimeout ?? 2000,
      maxHeadSize: options.maxHeadSize ?? 65_536,
      readBufferSize: options.readBufferSize ?? 65_536,
      tls: options.tls ?? {}
    }
  }

  get stats (): TransportStats {
    let connecting = 0
    for (const connection of this.#all) if (!connection.connected) connecting++
    return { open: this.#all.size - connecting, idle: this.#idle.length, connecting }
  }

  dispatch (request: TransportRequest, handler: AttemptHandler): Attempt {
    const connection = (request.upgrade === undefined ? this.#reusable() : undefined) ?? this.#connect(request.upgrade !== undefined)
    connection.start(request, handler)
    return connection
  }

  close (): Promise<void> {
    for (const connection of this.#idle.slice()) connection.destroy()
    if (this.#all.size === 0) return Promise.resolve()
    return new Promise((resolve) => { this.#closing = resolve })
  }

  destroy (): void {
    for (const connection of Array.from(this.#all)) connection.destroy()
  }

  connected (_connection: Connection): void {}

  idle (connection: Connection): void {
    const now = this.#clock.now()
    // A second less than the server's own timeout, so that a request does not cross its FIN (RFC 9112 9.5).
    const hint = connection.keepAliveHint
    const timeout = hint === -1 ? this.#keepAliveTimeout : Math.min(hint * 1000 - 1000, 600_000)
    if (this.#closing !== undefined || timeout <= 0 || this.#idle.length >= this.#maxIdle ||
      connection.requests >= this.#maxRequests || now - connection.createdAt > this.#maxAge) return connection.destroy()
    connection.idleUntil = now + timeout
    connection.unref()
    this.#idle.push(connection)
    if (this.#sweep === undefined) this.#sweep = this.#clock.setTimeout(this.#onSweep, 1000)
  }

  closed (connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#idle.indexOf(connection)
    if (at !== -1) this.#idle.splice(at, 1)
    if (this.#all.size === 0) {
      this.#closing?.()
      this.#closing = undefined
    }
  }

  #reusable (): Connection | undefined {
    const now = this.#clock.now()
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.idleUntil > now) return connection
      connection.destroy()
    }
    return undefined
  }

  #connect (raw: boolean): Connection {
    const connection = new Connection(this, this.#target, this.#settings, this.#clock, raw)
    this.#all.add(connection)
    return connection
  }

  readonly #onSweep = (): void => {
    this.#sweep = undefined
    const now = this.#clock.now()
    for (const connection of this.#idle.filter((idle) => idle.idleUntil <= now)) connection.destroy()
    if (this.#idle.length > 0) this.#sweep = this.#clock.setTimeout(this.#onSweep, 1000)
  }
}
