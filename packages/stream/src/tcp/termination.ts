import type { Socket } from 'node:net'
import { createServer, type Server, type TlsOptions, type TLSSocket } from 'node:tls'
import { refuseListener } from '../refuse.ts'

/** Who waits for a handshake. */
export interface Handshake {
  secured (socket: TLSSocket): void
  insecure (error: Error): void
}

/** Certificates that change while it runs: `tls` of `@headgate/tls` is one. */
export interface TlsSource {
  serverOptions (): TlsOptions
  /** Called once: keeps the server's default certificate and the keys of its tickets up to date. */
  adopt (server: Server): void
  /** Called for each finished handshake: whether its client may come in. */
  admit (socket: TLSSocket): boolean
}

/**
 * Ends TLS on sockets that are handed to it. A `tls.Server` that never listens does the work, client certificates included. It makes
 * the TLS socket itself; which handshake it belongs to is found by the socket under it.
 */
export class Termination {
  readonly #server: Server
  readonly #waiting = new WeakMap<object, Handshake>()
  readonly #source: TlsSource | undefined

  /** Throws `HG_STREAM_INVALID_OPTION` for keys and certificates that do not fit. */
  constructor (given: TlsOptions | TlsSource, path: string) {
    const source = this.#source = 'serverOptions' in given ? given : undefined
    const options = source?.serverOptions() ?? given as TlsOptions
    if (options.SNICallback === undefined && options.cert === undefined && options.pfx === undefined) refuseListener(path, "needs 'key' and 'cert', 'pfx' or 'SNICallback'", options)
    try {
      this.#server = createServer(options)
    } catch (error) {
      refuseListener(path, `must be what tls.createServer takes (${(error as Error).message})`, options)
    }
    source?.adopt(this.#server)
    this.#server.on('secureConnection', (socket) => { this.#finished(socket) })
    this.#server.on('tlsClientError', (error, socket) => { this.#of(socket)?.insecure(error) })
  }

  start (plain: Socket, handshake: Handshake): void {
    this.#waiting.set(plain, handshake)
    // The TLS socket takes it over: one whose client half-closes in the midst of the handshake is not to wait for the rest.
    plain.allowHalfOpen = false
    this.#server.emit('connection', plain)
  }

  #finished (socket: TLSSocket): void {
    const handshake = this.#of(socket)
    socket.allowHalfOpen = true
    if (this.#source === undefined || this.#source.admit(socket)) return handshake?.secured(socket)
    socket.destroy()
    handshake?.insecure(new Error("the client's certificate was refused"))
  }

  #of (socket: TLSSocket): Handshake | undefined {
    const { _parent: plain } = socket as unknown as { readonly _parent?: Socket }
    const handshake = plain === undefined ? undefined : this.#waiting.get(plain)
    // Nobody to tell: better no connection than one that nobody watches.
    if (handshake === undefined) socket.destroy()
    return handshake
  }
}
