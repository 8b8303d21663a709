import type { Duplex } from 'node:stream'
import { Deadline, type Deadlines, Flow, FlowBuffers, type Lease, readDirectly } from '@headgate/core'
import { tunnelled } from './accounting.ts'

/** Bytes that are read at once at most. */
const READ = 65_536

/** Milliseconds between two looks at one that has yet to take what the other, closed in good order, said last. */
const LINGER = 1000

/** Of all tunnels of this process. */
const buffers = new FlowBuffers(READ)

/** Passes on what one end sends, half-close included. `early` is what came from it already. */
function pass (from: Duplex, to: Duplex, early: Buffer | undefined, deadlines: Deadlines): Flow {
  const flow = new Flow(undefined, deadlines, buffers)
  const { buffer: next, callback } = flow.onread as { buffer: () => Buffer; callback: (size: number, buffer: Uint8Array) => boolean }
  flow.to(to)
  if (early !== undefined && early.length > 0) to.write(early)
  // Sent while the other end made up its mind.
  const waiting = from.read() as Buffer | null
  if (waiting !== null) to.write(waiting)
  from.on('end', () => { to.end() })
  flow.from(from, readDirectly(from, next, callback))
  flow.resume()
  return flow
}

/** The two connections of an upgraded exchange, joined until both are closed. */
class Tunnel extends Deadline {
  readonly #client: Duplex
  readonly #upstream: Duplex
  readonly #up: Flow
  readonly #down: Flow
  readonly #deadlines: Deadlines
  readonly #timeout: number
  readonly #ended: () => void
  readonly #gone: Set<Duplex> = new Set()

  /** `head`: what came from the upstream already. `timeout` is ms without a byte either way, 0: none; `ended` is called once. */
  constructor (client: Duplex, upstream: Duplex, head: Buffer, deadlines: Deadlines, timeout: number, ended: () => void) {
    super()
    this.#client = client
    this.#upstream = upstream
    this.#deadlines = deadlines
    this.#timeout = timeout
    this.#ended = ended
    client.on('close', () => { this.#closed(client, upstream) })
    upstream.on('close', () => { this.#closed(upstream, client) })
    for (const each of [client, upstream]) {
      each.on('error', () => { each.destroy() })
      // An HTTP/2 stream that was reset without an error would wait for ever to write what is left.
      each.on('aborted', () => { each.destroy() })
    }
    this.#up = pass(client, upstream, undefined, deadlines)
    this.#down = pass(upstream, client, head, deadlines)
    // The client may have left while the upstream made up its mind.
    if (client.closed) {
      client.destroy()
      this.#closed(client, upstream)
    } else if (timeout > 0) this.#look(deadlines.now())
  }

  expired (now: number): void {
    // Node does not tell when a stream that was ended is reset without an error, which is then closed, but never destroyed.
    const over = this.#gone.size === 1 && this.#client.closed && this.#upstream.closed
    if (!over && (this.#timeout === 0 || now < this.#quietAt)) this.#look(now)
    else {
      this.#client.destroy()
      this.#upstream.destroy()
    }
  }

  get #quietAt (): number { return Math.max(this.#up.active, this.#down.active) + this.#timeout }

  #look (now: number): void {
    const linger = this.#gone.size === 1 ? now + LINGER : Infinity
    this.#deadlines.schedule(this, Math.min(linger, this.#timeout === 0 ? Infinity : this.#quietAt), now)
  }

  #closed (one: Duplex, other: Duplex): void {
    if (this.#gone.has(one)) return
    this.#gone.add(one)
    if (!this.#gone.has(other)) {
      // Closed in good order, it has left nothing to do but to take what it said, after which the other closes by itself.
      if (one.readableEnded && one.writableFinished && one.errored === null) return this.#look(this.#deadlines.now())
      other.destroy()
      return
    }
    this.#deadlines.cancel(this)
    this.#up.close()
    this.#down.close()
    this.#ended()
  }
}

/** Joins a client and an upstream until both are closed; without a client the upstream's answer was none. */
export function joinTunnel (client: Duplex | undefined, upstream: Duplex, head: Buffer, deadlines: Deadlines, timeout: number, lease: Lease): void {
  if (client === undefined) lease.release('failed-after-send', 'malformed')
  else void new Tunnel(client, upstream, head, deadlines, timeout, () => { tunnelled(lease, upstream) })
}
