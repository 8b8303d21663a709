import type { Clock } from '../clock.ts'
import type { Target } from '../target.ts'
import type { Attempt, AttemptHandler, Transport, TransportOptions, TransportRequest, TransportStats } from './contract.ts'
import { type Fallback, Http2Transport } from './http2/transport.ts'
import { NativeTransport } from './native.ts'

/**
 * Speaks what the upstream chooses in the TLS handshake. The first connection asks; an answer of HTTP/1.1 holds for
 * `maxConnectionAge`, then the next request asks again. Upgrades that HTTP/2 cannot carry go over HTTP/1.1.
 */
export class AutoTransport implements Transport, Fallback {
  readonly http1: NativeTransport
  readonly #http2: Http2Transport
  readonly #clock: Clock
  readonly #belief: number
  #http1Until = -Infinity

  constructor (target: Target, options: TransportOptions, clock: Clock, connected?: (latency: number) => void) {
    this.#clock = clock
    this.#belief = options.maxConnectionAge ?? 3_600_000
    this.http1 = new NativeTransport(target, options, clock, undefined, connected)
    this.#http2 = new Http2Transport(target, options, clock, connected, this)
  }

  get stats (): TransportStats {
    const [a, b] = [this.http1.stats, this.#http2.stats]
    return { open: a.open + b.open, idle: a.idle + b.idle, connecting: a.connecting + b.connecting }
  }

  dispatch (request: TransportRequest, handler: AttemptHandler): Attempt {
    return (this.#clock.now() < this.#http1Until ? this.http1 : this.#http2).dispatch(request, handler)
  }

  async close (): Promise<void> {
    await Promise.all([this.#http2.close(), this.http1.close()])
  }

  destroy (): void {
    this.#http2.destroy()
    this.http1.destroy()
  }

  chosen (): void {
    this.#http1Until = this.#clock.now() + this.#belief
  }
}
