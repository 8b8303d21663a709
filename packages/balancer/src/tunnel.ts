import type { Duplex } from 'node:stream'
import { Deadline, type Deadlines, type Lease } from '@headgate/core'
import { tunnelled } from './accounting.ts'
import type { TunnelClient } from './tunnel-client.ts'

/** How often a tunnel is looked at within its timeout: it ends at most a quarter too late. */
const LOOKS = 4

/** The two connections of an upgraded exchange, joined until both are closed. Half-close is passed on. */
class Tunnel extends Deadline {
  readonly #client: Duplex
  readonly #passed: () => number
  readonly #upstream: Duplex
  readonly #deadlines: Deadlines
  readonly #timeout: number
  readonly #ended: () => void
  #open = 2
  #bytes = 0
  #quiet = 0

  /** `head`: what came from the upstream already. `timeout` is ms without a byte either way, 0: none; `ended` is called once. */
  constructor ({ stream: client, bytes }: TunnelClient, upstream: Duplex, head: Buffer, deadlines: Deadlines, timeout: number, ended: () => void) {
    super()
    this.#client = client
    this.#passed = bytes
    this.#upstream = upstream
    this.#deadlines = deadlines
    this.#timeout = timeout
    this.#ended = ended
    if (head.length > 0 && client.writable) client.write(head)
    client.on('close', this.#onClose)
    upstream.on('close', this.#onClose)
    client.on('error', () => { client.destroy() })
    upstream.on('error', () => { upstream.destroy() })
    client.pipe(upstream)
    upstream.pipe(client)
    // The client may have left while the upstream made up its mind.
    if (client.closed) this.#onClose()
    else if (timeout > 0) this.#look()
  }

  /** Byte counts are compared now and then: each piece that passes costs nothing that way. */
  expired (): void {
    if (this.#open < 2) return
    const bytes = this.#passed()
    this.#quiet = bytes === this.#bytes ? this.#quiet + 1 : 0
    this.#bytes = bytes
    if (this.#quiet < LOOKS) this.#look()
    else this.#client.destroy()
  }

  #look (): void {
    this.#deadlines.schedule(this, this.#deadlines.now() + this.#timeout / LOOKS)
  }

  readonly #onClose = (): void => {
    if (this.#open === 0) return
    this.#open--
    if (this.#open === 1) {
      this.#deadlines.cancel(this)
      this.#client.destroy()
      this.#upstream.destroy()
    }
    if (this.#open === 0) this.#ended()
  }
}

/** Joins a client and an upstream until both are closed; without a client the upstream's answer was none. */
export function joinTunnel (client: TunnelClient | undefined, upstream: Duplex, head: Buffer, deadlines: Deadlines, timeout: number, lease: Lease): void {
  if (client === undefined) lease.release('failed-after-send', 'malformed')
  else void new Tunnel(client, upstream, head, deadlines, timeout, () => { tunnelled(lease, upstream) })
}
