import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { Deadline, parseProxyHeader, plainAddress, ProxyProtocolError, type ProxyEndpoint, type ProxyTlv } from '@headgate/core'
import type { Exit, TcpListener } from './listener.ts'
import { Peek, type StreamInfo } from './routes.ts'
import type { Handshake, Termination } from './termination.ts'

/** Bytes that are looked at, at most, before it is known where a connection goes; and that are read ahead of its upstream. */
export const PREREAD = 16_384

/** What is known of a connection's client. */
export class ClientInfo implements StreamInfo {
  readonly listener: string
  clientAddress: string
  clientPort: number
  serverName = ''
  alpn: readonly string[] = []
  /** The address that the client spoke to. */
  destination: ProxyEndpoint
  /** Fields of the PROXY header that it came with. */
  tlvs: readonly ProxyTlv[] = []

  constructor (listener: string, socket: Socket) {
    this.listener = listener
    this.clientAddress = plainAddress(socket.remoteAddress ?? '')
    this.clientPort = socket.remotePort ?? 0
    this.destination = { address: socket.localAddress ?? '', port: socket.localPort ?? 0 }
  }
}

/** Who is told how an entry went: one of the two, once. */
export interface EntryOwner {
  /** Where it goes, on which socket (another one where TLS ended here), and what came already. */
  entered (exit: Exit, client: Socket, first: Buffer[]): void
  refused (reason: string): void
}

/** The way of a connection from its accept until it is known where it goes: PROXY header, first bytes, TLS. */
export class Entry extends Deadline implements Handshake {
  readonly #listener: TcpListener
  readonly #owner: EntryOwner
  readonly #info: ClientInfo
  readonly #client: Socket
  #state: 'header' | 'bytes' | 'handshake' | 'over' = 'bytes'
  #exit: Exit | undefined
  #peek: Peek | undefined
  #first: Buffer[] = []
  #length = 0

  constructor (listener: TcpListener, owner: EntryOwner, info: ClientInfo, client: Socket) {
    super()
    this.#listener = listener
    this.#owner = owner
    this.#info = info
    this.#client = client
  }

  /** `peer`: the socket's own address, '' for a Unix socket's. */
  start (peer: string): void {
    const { acceptProxy } = this.#listener.settings
    if (acceptProxy?.peers.has(peer === '' ? undefined : peer) === true) this.#wait('header', acceptProxy.timeout)
    else if (acceptProxy?.closeOthers === true) this.#refuse('proxy-untrusted')
    else this.#arrived()
  }

  /** Bytes from the client, not used by anybody else. False: read no further. */
  take (chunk: Buffer): boolean {
    if (this.#state === 'header') return this.#header(chunk)
    this.#first.push(chunk)
    this.#length += chunk.length
    if (this.#peek !== undefined) this.#inspect(this.#peek, chunk)
    return this.#state === 'bytes' && this.#length < PREREAD
  }

  /** The client has half-closed: what is there has to do. */
  ended (): void {
    const { exit } = this.#listener
    if (this.#state !== 'bytes' || this.#length > 0 || exit === undefined) this.#refuse('client-closed')
    else this.#chosen(exit)
  }

  /** Nothing more is wanted of it. */
  cancel (): void {
    this.#state = 'over'
    this.#listener.deadlines.cancel(this)
  }

  secured (socket: TLSSocket): void {
    if (this.#state !== 'handshake') return void socket.destroy()
    const info = this.#info
    info.serverName = typeof socket.servername === 'string' ? socket.servername.toLowerCase() : ''
    info.alpn = typeof socket.alpnProtocol === 'string' ? [socket.alpnProtocol] : []
    let exit: Exit | 'more' | undefined = this.#exit
    if (exit === undefined) {
      const peek = new Peek(info)
      peek.hello.state = 'done'
      peek.hello.hello = { serverName: info.serverName, alpn: info.alpn }
      exit = this.#route(peek)
    }
    if (exit === undefined || exit === 'more') {
      socket.destroy()
      this.#refuse('no-route')
    } else this.#enter(exit, socket)
  }

  insecure ({ code }: NodeJS.ErrnoException): void {
    // Node's word for a connection that is gone before the handshake is over.
    this.#refuse(code === 'ECONNRESET' ? 'client-closed' : 'tls')
  }

  expired (): void {
    const { exit } = this.#listener
    if (this.#state === 'header') this.#refuse('proxy-timeout')
    else if (this.#state === 'handshake') this.#refuse('tls-timeout')
    // Protocols in which the server speaks first send nothing to look at.
    else if (this.#length === 0 && exit !== undefined) this.#chosen(exit)
    else this.#refuse(this.#length > 0 && this.#peek?.hello.state === 'more' ? 'client-hello-timeout' : 'preread-timeout')
  }

  #wait (state: 'header' | 'bytes' | 'handshake', ms: number): void {
    this.#state = state
    this.#listener.deadlines.schedule(this, this.#listener.environment.clock.now() + ms)
  }

  #refuse (reason: string): void {
    if (this.#state === 'over') return
    this.cancel()
    this.#owner.refused(reason)
  }

  #enter (exit: Exit, client: Socket): void {
    this.cancel()
    this.#owner.entered(exit, client, this.#first)
  }

  #header (chunk: Buffer): boolean {
    this.#first.push(chunk)
    const bytes = this.#first.length === 1 ? chunk : Buffer.concat(this.#first)
    let read
    try {
      read = parseProxyHeader(bytes)
    } catch (error) {
      if (!(error instanceof ProxyProtocolError)) throw error
      this.#refuse('proxy-malformed')
      return false
    }
    if (read === undefined) return true
    const { ends, tlvs } = read.header
    const info = this.#info
    info.tlvs = tlvs
    if (ends !== undefined) {
      info.clientAddress = plainAddress(ends.source.address)
      info.clientPort = ends.source.port
      info.destination = ends.destination
    }
    this.#first = []
    const rest = bytes.subarray(read.length)
    this.#state = 'bytes'
    // What came with the header first: whoever is entered gets it.
    if (rest.length > 0 && !this.#looks) this.#first.push(rest)
    this.#arrived()
    return rest.length > 0 && this.#looks ? this.take(rest) : this.#state === 'bytes'
  }

  /** Do routes look at the first bytes? */
  get #looks (): boolean {
    return this.#listener.termination === undefined && this.#listener.exits.length > 0
  }

  /** The client's address is known: where to? */
  #arrived (): void {
    const { exit, termination, settings } = this.#listener
    if (termination !== undefined) this.#secure(termination)
    else if (this.#looks) {
      this.#peek = new Peek(this.#info)
      this.#wait('bytes', settings.prereadTimeout)
    } else this.#enter(exit!, this.#client)
  }

  #inspect (peek: Peek, chunk: Buffer): void {
    peek.push(chunk)
    const { hello } = peek
    if (hello.hello !== undefined) {
      this.#info.serverName = hello.hello.serverName
      this.#info.alpn = hello.hello.alpn
    }
    // Something that began as TLS and is none is for nobody.
    if (hello.state === 'malformed' || hello.state === 'too-long') return this.#refuse(`client-hello-${hello.state}`)
    const exit = this.#route(peek)
    if (exit === undefined) this.#refuse('no-route')
    else if (exit !== 'more') this.#chosen(exit)
    else if (this.#length >= PREREAD) this.#refuse('preread-too-long')
  }

  /** The first exit whose condition holds, when those before it are known not to. */
  #route (peek: Peek): Exit | 'more' | undefined {
    for (const exit of this.#listener.exits) {
      const matches = this.#matches(exit, peek)
      if (matches === undefined) return 'more'
      if (matches) return exit
    }
    return this.#listener.exit
  }

  /** A user's function may throw: then its route does not match. */
  #matches (exit: Exit, peek: Peek): boolean | undefined {
    try {
      return exit.match!(peek)
    } catch (error) {
      this.#listener.log.warn({ err: error, listener: this.#listener.name }, "a route's match function failed")
      return false
    }
  }

  #chosen (exit: Exit): void {
    this.#peek = undefined
    if (exit.termination === undefined) return this.#enter(exit, this.#client)
    this.#exit = exit
    this.#secure(exit.termination)
  }

  // TLS ends here: what came goes back into the socket, and the TLS socket takes its place.
  #secure (termination: Termination): void {
    this.#wait('handshake', this.#listener.settings.handshakeTimeout)
    // Not within the read of the bytes that are to be put back.
    setImmediate(() => {
      if (this.#state !== 'handshake') return
      this.#client.pause()
      const bytes = Buffer.concat(this.#first)
      this.#first = []
      if (bytes.length > 0) this.#client.unshift(bytes)
      termination.start(this.#client, this)
    })
  }
}
