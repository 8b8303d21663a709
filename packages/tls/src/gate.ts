import type { Server, Socket } from 'node:net'
import { Deadline, type Deadlines, parseProxyHeader, type Peers, type ProxyHeader, ProxyProtocolError } from '@headgate/core'

export interface GateSettings {
  readonly proxyProtocol: { readonly peers: Peers; readonly closeOthers: boolean } | undefined
  /** Milliseconds for a PROXY header and the first byte after it. */
  readonly timeout: number
  readonly deadlines: Deadlines
  /** Looks at the first bytes after a PROXY header. `undefined`: takes the connection over; else whether it may pass, or more is needed. */
  readonly inspect: ((first: Buffer, socket: Socket) => 'pass' | 'more' | 'taken') | undefined
  /** A connection was closed here. `reason` is a word for counters. */
  readonly refused: (reason: string, socket: Socket) => void
}

const LONGEST = 65_536

/** Stands before a server: PROXY headers, and first bytes that are not for it. */
export class Gate {
  /** For connections that come from now on. */
  settings: GateSettings
  /** Connections that are here, or in the handshake that follows. */
  readonly #pending = new Set<Socket>()

  constructor (settings: GateSettings) {
    this.settings = settings
  }

  /** Takes the place of the server's own listener for connections. */
  attach (server: Server): void {
    const listeners = server.listeners('connection') as ((this: Server, socket: Socket) => void)[]
    server.removeAllListeners('connection')
    server.on('connection', (socket: Socket) => {
      this.#pending.add(socket)
      socket.once('close', this.#closed)
      new Visit(this.settings, socket, () => { for (const listener of listeners) listener.call(server, socket) }).start()
    })
  }

  /** The handshake is over: from here on the server answers for it. */
  passed (socket: Socket): void {
    this.#pending.delete(socket)
    socket.off('close', this.#closed)
  }

  /** Closes whoever has not come through. */
  close (): void {
    for (const socket of this.#pending) socket.destroy()
  }

  get pending (): number { return this.#pending.size }

  readonly #closed = (): void => {
    for (const socket of this.#pending) if (socket.destroyed) this.#pending.delete(socket)
  }
}

/** One connection's time before the server. */
class Visit extends Deadline {
  readonly #settings: GateSettings
  readonly #socket: Socket
  readonly #pass: () => void
  #bytes: Buffer | undefined
  #header = false

  constructor (settings: GateSettings, socket: Socket, pass: () => void) {
    super()
    this.#settings = settings
    this.#socket = socket
    this.#pass = pass
  }

  start (): void {
    const { proxyProtocol, inspect, deadlines, timeout } = this.#settings
    const socket = this.#socket
    if (proxyProtocol !== undefined) {
      if (proxyProtocol.peers.has(socket.remoteAddress)) this.#header = true
      else if (proxyProtocol.closeOthers) {
        this.#settings.refused('proxy-untrusted', socket)
        return void socket.destroy()
      }
    }
    if (!this.#header && inspect === undefined) return this.#pass()
    deadlines.schedule(this, deadlines.now() + timeout)
    socket.on('readable', this.#read)
    socket.on('end', this.#ended)
    socket.on('error', this.#failed)
    socket.on('close', this.#ended)
  }

  expired (): void {
    this.#refuse(this.#header ? 'proxy-timeout' : 'silent')
  }

  readonly #read = (): void => {
    const chunk = this.#socket.read() as Buffer | null
    if (chunk === null) return
    this.#bytes = this.#bytes === undefined ? chunk : Buffer.concat([this.#bytes, chunk])
    if (this.#header && !this.#takeHeader()) return
    const bytes = this.#bytes
    if (bytes === undefined || bytes.length === 0) return
    const { inspect } = this.#settings
    const verdict = inspect === undefined ? 'pass' : inspect(bytes, this.#socket)
    if (verdict === 'more') {
      if (bytes.length >= LONGEST) this.#refuse('first-bytes-too-long')
      return
    }
    this.#leave()
    if (verdict === 'taken') return
    this.#socket.unshift(bytes)
    this.#pass()
  }

  /** True: the header is there, and was taken off. */
  #takeHeader (): boolean {
    let read: { header: ProxyHeader; length: number } | undefined
    try {
      read = parseProxyHeader(this.#bytes!)
    } catch (error) {
      if (!(error instanceof ProxyProtocolError)) throw error
      this.#refuse('proxy-malformed')
      return false
    }
    if (read === undefined) return false
    this.#header = false
    if (read.header.ends !== undefined) introduce(this.#socket, read.header.ends)
    this.#bytes = read.length === this.#bytes!.length ? undefined : this.#bytes!.subarray(read.length)
    // Without anybody to look at first bytes, the connection passes though the client may say nothing for now.
    if (this.#bytes === undefined && this.#settings.inspect === undefined) {
      this.#leave()
      this.#pass()
    }
    return true
  }

  readonly #ended = (): void => {
    this.#leave()
    this.#socket.destroy()
  }

  readonly #failed = (): void => { this.#ended() }

  #refuse (reason: string): void {
    this.#leave()
    this.#settings.refused(reason, this.#socket)
    this.#socket.destroy()
  }

  #leave (): void {
    this.#settings.deadlines.cancel(this)
    const socket = this.#socket
    socket.off('readable', this.#read)
    socket.off('end', this.#ended)
    socket.off('error', this.#failed)
    socket.off('close', this.#ended)
  }
}

const ENDS = Symbol('headgate.tls.ends')

/** Lets a socket tell the addresses that a PROXY header gave, wherever it is asked for them. */
export function introduce (socket: Socket, ends: NonNullable<ProxyHeader['ends']>): void {
  const { source, destination } = ends
  const family = source.address.includes(':') ? 'IPv6' : 'IPv4'
  const values = {
    remoteAddress: source.address, remotePort: source.port, remoteFamily: family,
    localAddress: destination.address, localPort: destination.port, localFamily: family
  }
  for (const [name, value] of Object.entries(values)) Object.defineProperty(socket, name, { value, configurable: true })
  Object.defineProperty(socket, ENDS, { value: ends })
}

/** What a TLS socket's carrier was told: the TLS socket says the same. */
export function introduceOver (secure: Socket, carrier: Socket | undefined): void {
  const ends = carrier === undefined ? undefined : (carrier as Socket & { [ENDS]?: NonNullable<ProxyHeader['ends']> })[ENDS]
  if (ends !== undefined) introduce(secure, ends)
}
