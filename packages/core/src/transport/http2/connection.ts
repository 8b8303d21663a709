import { type ClientHttp2Session, type ClientHttp2Stream, type ClientSessionRequestOptions, connect, type OutgoingHttpHeaders, type Settings } from 'node:http2'
import type { Socket } from 'node:net'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../../clock.ts'
import type { Target } from '../../target.ts'
import { type Open, type TlsSession, connectFailure } from '../connect.ts'
import { type FailureCode, TransportError } from '../contract.ts'

export interface Http2Settings {
  readonly open: Open
  readonly connectTimeout: number
  readonly maxHeadSize: number
  readonly maxStreams: number
  readonly windowSize: number
  readonly pingInterval: number
  readonly pingTimeout: number
  readonly tls: ConnectionOptions
  readonly session: TlsSession
}

/** Who keeps the connections. */
export interface Http2Owner {
  opened (connection: Http2Connection): void
  /** There may be room for a request, or no more for any. */
  changed (connection: Http2Connection): void
  /** The upstream chose HTTP/1.1 in the handshake. Its connection is closed. */
  notHttp2 (connection: Http2Connection): void
  /** Called once. `error`: it never was open. */
  closed (connection: Http2Connection, error: TransportError | undefined): void
}

/** The connection's own window (RFC 9113 6.9.1) at least: it is refilled as bytes come, whoever reads them. */
const CONNECTION_WINDOW = 1_048_576
/** As often as a gRPC server takes PINGs without data between them (gRFC A8, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS). */
const QUIET_PING = 300_000
/** Between two PINGs because of requests that were given up. */
const SUSPICION = 10_000
/** Field lines of one response. */
const MAX_FIELDS = 512
/** Megabytes that Node lets one connection take for what it holds of its streams; a window's worth for each is the real bound. */
const MAX_MEMORY = 1024

/** One HTTP/2 connection. Open for requests once the peer's first SETTINGS are there, so that its limits hold from the first stream on. */
export class Http2Connection {
  readonly createdAt: number
  /** Requests that are running. */
  active = 0
  /** Requests so far, and those that came to a good end. */
  requests = 0
  served = 0
  /** The last stream that the peer looks at, once it has said that it goes away. */
  lastStream: number = Infinity
  /** Clock time since which nothing runs. */
  idleSince: number
  /** The peer takes RFC 8441's extended CONNECT. */
  tunnels = false
  failure: TransportError | undefined
  readonly #owner: Http2Owner
  readonly #target: Target
  readonly #settings: Http2Settings
  readonly #clock: Clock
  readonly #socket: Socket
  #session: ClientHttp2Session | undefined
  #timer: Timer
  #limit = 0
  #open = false
  #closed = false
  #retired = false
  #pinging = false
  #pingedAt = -Infinity
  #seen = 0
  #heardAt: number
  /** PINGs since the last byte of something else. */
  #quietPings = 0

  constructor (owner: Http2Owner, target: Target, settings: Http2Settings, clock: Clock, protocols: readonly string[]) {
    this.#owner = owner
    this.#target = target
    this.#settings = settings
    this.#clock = clock
    this.createdAt = this.idleSince = this.#heardAt = clock.now()
    const secure = target.protocol === 'https:'
    const socket = this.#socket = settings.open(target, { ...settings.tls, ALPNProtocols: [...protocols] }, settings.session, undefined)
    socket.on(secure ? 'secureConnect' : 'connect', () => { this.#connected(secure) })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#fail(this.#session === undefined ? connectFailure(error, secure) : 'reset', error.message, error)
    })
    // The socket is opened half-open; HTTP/2 has no use for that.
    socket.on('end', () => { this.#fail('closed', 'the upstream closed the connection') })
    socket.on('close', () => { this.#fail('closed', 'the upstream closed the connection') })
    this.#timer = clock.setTimeout(() => { this.#fail('connect-timeout', `no connection within ${settings.connectTimeout} ms`) }, settings.connectTimeout)
  }

  get bytesRead (): number { return this.#socket.bytesRead }
  /** Requests that may be sent now. */
  get room (): number { return this.#open && !this.#retired ? this.#limit - this.active : 0 }
  get open (): boolean { return this.#open }
  /** Takes no more requests. */
  get retired (): boolean { return this.#retired }

  /** Throws when the connection has gone meanwhile. */
  request (fields: OutgoingHttpHeaders, options: ClientSessionRequestOptions): ClientHttp2Stream {
    const stream = this.#session!.request(fields, options)
    this.requests++
    if (this.active++ === 0) this.#session!.ref()
    return stream
  }

  /** A stream is over. */
  released (): void {
    this.active--
    if (this.active === 0) {
      this.idleSince = this.#clock.now()
      if (!this.#closed) this.#session!.unref()
      if (this.#retired) return this.#leave()
    }
    this.#owner.changed(this)
  }

  /** Lets what runs come to its end, then closes. */
  retire (): void {
    if (this.#closed || this.#retired) return
    this.#retired = true
    if (this.active === 0) this.#leave()
  }

  destroy (): void {
    this.#fail('destroyed', 'the connection was closed by the proxy')
  }

  /** Called every second or so: is the peer still there? */
  tick (now: number): void {
    const { pingInterval, pingTimeout } = this.#settings
    if (!this.#open || this.#closed) return
    if (this.#pinging) {
      if (now - this.#pingedAt >= pingTimeout) this.#fail('closed', `no answer to a PING within ${pingTimeout} ms`)
      return
    }
    const { bytesRead } = this.#socket
    if (bytesRead !== this.#seen) {
      this.#seen = bytesRead
      this.#heardAt = now
      this.#quietPings = 0
    } else if (this.active > 0 && pingInterval > 0) {
      const patience = this.#quietPings === 0 ? pingInterval : Math.max(pingInterval, QUIET_PING)
      if (now - this.#heardAt >= patience) this.#ping(now)
    }
  }

  /** A request on it was given up before its answer: where nothing came of late, the connection itself may be dead. */
  suspect (): void {
    const now = this.#clock.now()
    if (!this.#open || this.#closed || this.#pinging || this.#settings.pingInterval === 0) return
    if (this.#socket.bytesRead === this.#seen && now - this.#pingedAt >= SUSPICION) this.#ping(now)
  }

  #ping (now: number): void {
    this.#pinging = true
    this.#pingedAt = now
    this.#quietPings++
    this.#session!.ping((error) => {
      if (error !== null) return
      this.#pinging = false
      this.#heardAt = this.#clock.now()
      this.#seen = this.#socket.bytesRead
    })
  }

  #connected (secure: boolean): void {
    if (this.#closed) return
    const socket = this.#socket
    if (secure && (socket as TLSSocket).alpnProtocol !== 'h2') {
      this.#closed = true
      this.#clock.clearTimeout(this.#timer)
      socket.destroy()
      return this.#owner.notHttp2(this)
    }
    const { windowSize, maxHeadSize } = this.#settings
    const session = this.#session = connect(`${secure ? 'https' : 'http'}://${this.#target.host}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: windowSize, maxHeaderListSize: maxHeadSize },
      maxHeaderListPairs: MAX_FIELDS,
      maxSessionMemory: MAX_MEMORY
    } as Parameters<typeof connect>[1])
    session.setLocalWindowSize(Math.max(windowSize, CONNECTION_WINDOW))
    session.on('remoteSettings', this.#onSettings)
    session.on('goaway', this.#onGoaway)
    session.on('error', (error: NodeJS.ErrnoException) => { this.#fail('reset', error.message, error) })
    session.on('close', () => { this.#fail('closed', 'the connection was closed') })
  }

  readonly #onSettings = ({ maxConcurrentStreams = Infinity, enableConnectProtocol = false }: Settings): void => {
    if (this.#closed) return
    this.#limit = Math.min(this.#settings.maxStreams, maxConcurrentStreams)
    this.tunnels = enableConnectProtocol
    if (!this.#open) {
      this.#clock.clearTimeout(this.#timer)
      this.#open = true
      this.#session!.unref()
      this.#owner.opened(this)
    }
    this.#owner.changed(this)
  }

  /** RFC 9113 6.8. Node closes the session after this event: at once for an error, else when its streams have ended. */
  readonly #onGoaway = (code: number, lastStream: number): void => {
    this.lastStream = Math.min(this.lastStream, lastStream)
    this.#retired = true
    if (code !== 0) this.failure ??= new TransportError('closed', 'request', `the upstream ended the connection with code ${code} (GOAWAY)`)
    this.#owner.changed(this)
  }

  #leave (): void {
    if (this.#closed) return
    // What the session still has to say (GOAWAY) goes out; a peer that does not close is not waited for.
    this.#finish(undefined)
    this.#session!.close()
    this.#session!.destroy()
  }

  #fail (code: FailureCode, message: string, cause?: unknown): void {
    if (this.#closed) return
    const error = this.failure ??= new TransportError(code, 'connect', message, { cause })
    this.#finish(this.#open ? undefined : error)
    this.#session?.destroy()
    this.#socket.destroy()
  }

  #finish (error: TransportError | undefined): void {
    this.#closed = this.#retired = true
    this.#clock.clearTimeout(this.#timer)
    this.#owner.closed(this, error)
  }
}
