import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Deadline, type Deadlines } from '@headgate/core'
import { responseHeaders } from './headers.ts'
import { headOf } from './upgrade.ts'

/** How often a tunnel is looked at within its timeout: it ends at most a quarter too late. */
const LOOKS = 4

/** The two connections of an upgraded exchange, joined until both are closed. Half-close is passed on. */
export class Tunnel extends Deadline {
  readonly #client: Socket
  readonly #upstream: Duplex
  readonly #deadlines: Deadlines
  readonly #timeout: number
  readonly #ended: () => void
  #open = 2
  #bytes = 0
  #quiet = 0

  /** Answers the client with the 101. `timeout` is ms without a byte either way, 0: none; `ended` is called once. */
  constructor (
    request: IncomingMessage, response: ServerResponse, headers: readonly string[], upstream: Duplex, head: Buffer,
    deadlines: Deadlines, timeout: number, ended: () => void
  ) {
    super()
    const client = this.#client = request.socket
    this.#upstream = upstream
    this.#deadlines = deadlines
    this.#timeout = timeout
    this.#ended = ended
    let text = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n'
    for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === 'upgrade') text += `Upgrade: ${headers[i + 1]!}\r\n`
    const rest = responseHeaders(headers)
    for (let i = 0; i < rest.length; i += 2) text += `${rest[i]!}: ${rest[i + 1]!}\r\n`
    response.detachSocket(client)
    client.setTimeout(0)
    client.write(`${text}\r\n`, 'latin1')
    if (head.length > 0) client.write(head)
    const early = headOf(request)
    if (early !== undefined && early.length > 0) upstream.write(early)
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
    const { bytesRead, bytesWritten } = this.#client
    const bytes = bytesRead + bytesWritten
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
