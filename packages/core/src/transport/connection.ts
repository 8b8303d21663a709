import { connect as netConnect, type Socket, type TcpNetConnectOpts } from 'node:net'
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls'
import type { Clock, Timer } from '../clock.ts'
import type { Target } from '../target.ts'
import { TransportError, type Attempt, type AttemptHandler, type FailureCode, type FailurePhase, type TransportRequest } from './contract.ts'
import { ParseError, ResponseParser, type ParserEvents } from './response-parser.ts'
import { headText } from './request-head.ts'

export interface ConnectionSettings {
  readonly connectTimeout: number
  readonly maxHeadSize: number
  readonly readBufferSize: number
  readonly tls: ConnectionOptions
}

/** Who keeps the connections. */
export interface ConnectionOwner {
  connected (connection: Connection): void
  /** The exchange ended well and the connection may be used again. */
  idle (connection: Connection): void
  closed (connection: Connection): void
}

const OPTIONAL_BODY = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE'])
const NO_BYTES = Buffer.alloc(0)

/** One connection to one upstream, one exchange at a time. */
export class Connection implements Attempt, ParserEvents {
  readonly createdAt: number
  requests = 0
  /** Clock time until which it may lie idle. */
  idleUntil = 0
  connected = false
  readonly #owner: ConnectionOwner
  readonly #clock: Clock
  readonly #socket: Socket
  readonly #parser: ResponseParser
  #timer: Timer
  #request: TransportRequest | undefined
  #handler: AttemptHandler | undefined
  #written = false
  #sendDone = false
  #left = 0
  #paused = false
  /** Bytes that arrived while the handler wanted none: at most one read. */
  #held: Buffer | undefined
  #ended = false
  #closed = false

  constructor (owner: ConnectionOwner, target: Target, settings: ConnectionSettings, clock: Clock, raw: boolean) {
    this.#owner = owner
    this.#clock = clock
    this.createdAt = clock.now()
    this.#parser = new ResponseParser(this, settings.maxHeadSize)
    const where = target.socketPath === undefined ? { host: target.hostname, port: target.port } : { path: target.socketPath }
    // A switched protocol needs an ordinary socket: with onread a socket never emits 'data'.
    const onread = raw ? {} : { onread: { buffer: Buffer.allocUnsafeSlow(settings.readBufferSize), callback: this.#onRead } }
    const secure = target.protocol === 'https:'
    const common = { ...where, ...onread, allowHalfOpen: true, noDelay: true }
    this.#socket = secure
      ? tlsConnect({ servername: /^[\d.]+$|:/.test(target.hostname) ? '' : target.hostname, ALPNProtocols: ['http/1.1'], ...settings.tls, ...common } as ConnectionOptions)
      : netConnect(common as unknown as TcpNetConnectOpts)
    this.#socket.on(secure ? 'secureConnect' : 'connect', this.#onConnect)
    if (raw) this.#socket.on('data', this.#onData)
    this.#socket.on('drain', () => { this.#handler?.onDrain() })
    this.#socket.on('end', () => { this.#onEnd() })
    this.#socket.on('error', (error) => { this.#onError(error) })
    this.#socket.on('close', () => {
      this.#onEnd()
      if (!this.#closed) this.#close()
    })
    this.#timer = clock.setTimeout(() => { this.#fail('connect-timeout', `no connection within ${settings.connectTimeout} ms`) }, settings.connectTimeout)
  }

  /** Takes the next exchange. The handler hears nothing before this has returned. */
  start (request: TransportRequest, handler: AttemptHandler): void {
    this.#request = request
    this.#handler = handler
    this.#written = this.#sendDone = this.#ended = false
    this.requests++
    this.#parser.reset(request.method, request.upgrade !== undefined)
    if (this.connected) {
      this.#socket.ref()
      this.#send()
    }
  }

  unref (): void {
    this.#socket.unref()
  }

  write (chunk: Buffer): boolean {
    const request = this.#request
    if (request === undefined || this.#sendDone || request.body === null || Buffer.isBuffer(request.body)) return true
    if (request.body.length !== undefined) {
      this.#left -= chunk.length
      if (this.#left < 0) {
        queueMicrotask(() => this.#fail('request-too-long', 'the request body is longer than its Content-Length'))
        return false
      }
      return this.#socket.write(chunk)
    }
    if (chunk.length === 0) return true
    this.#socket.cork()
    this.#socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
    this.#socket.write(chunk)
    const more = this.#socket.write('\r\n', 'latin1')
    this.#socket.uncork()
    return more
  }

  end (trailers: readonly string[] = []): void {
    const request = this.#request
    if (request === undefined || this.#sendDone || request.body === null || Buffer.isBuffer(request.body)) return
    if (request.body.length !== undefined) {
      // Too short: the upstream must never take the next request's bytes for this body.
      if (this.#left > 0) return this.abort()
    } else {
      let tail = '0\r\n'
      for (let i = 0; i < trailers.length; i += 2) tail += `${trailers[i]}: ${trailers[i + 1]}\r\n`
      this.#socket.write(`${tail}\r\n`, 'latin1')
    }
    this.#sendDone = true
    if (this.#ended) this.#finish()
  }

  resume (): void {
    if (!this.#paused) return
    this.#paused = false
    const held = this.#held
    this.#held = undefined
    if (held !== undefined) this.#parse(held)
    if (!this.#paused && !this.#closed) this.#socket.resume()
  }

  abort (): void {
    if (this.#handler === undefined) return
    this.#handler = undefined
    this.destroy()
  }

  /** Breaks it; a running exchange hears `destroyed`. */
  destroy (): void {
    if (this.#handler !== undefined) this.#fail('destroyed', 'the connection was closed by the proxy')
    else this.#close()
  }

  // What the parser tells.

  informational (status: number, headers: readonly string[]): void {
    this.#handler?.onInformational(status, headers)
  }

  head (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    this.#handler?.onHead(status, reason, headers, length, complete)
  }

  data (chunk: Buffer, last: boolean): void {
    if (this.#handler !== undefined && !this.#handler.onData(chunk, last) && !last) {
      this.#paused = true
      this.#socket.pause()
    }
  }

  complete (trailers: readonly string[] | undefined): void {
    const handler = this.#handler
    this.#ended = true
    this.#paused = false
    if (!this.#sendDone || handler === undefined) this.#parser.keepAlive = false
    this.#handler = undefined
    handler?.onComplete(trailers)
  }

  upgraded (headers: readonly string[], rest: Buffer): void {
    const handler = this.#handler
    this.#handler = undefined
    this.#closed = true
    const socket = this.#socket
    this.#clock.clearTimeout(this.#timer)
    socket.removeAllListeners('data').removeAllListeners('drain').removeAllListeners('end').removeAllListeners('error').removeAllListeners('close')
    socket.on('close', () => { this.#owner.closed(this) })
    if (handler === undefined) socket.destroy()
    else handler.onUpgrade(headers, socket, Buffer.from(rest))
  }

  readonly #onConnect = (): void => {
    if (this.#closed) return
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.connected = true
    this.#owner.connected(this)
    if (this.#request !== undefined) this.#send()
  }

  #send (): void {
    const request = this.#request!
    const { body } = request
    const head = headText(request, OPTIONAL_BODY.has(request.method))
    if (head === undefined) return this.#later('malformed', 'a header of the request cannot be sent')
    this.#written = true
    const socket = this.#socket
    if (body === null || Buffer.isBuffer(body)) {
      this.#sendDone = true
      if (body === null || body.length === 0) socket.write(head, 'latin1')
      else {
        socket.cork()
        socket.write(head, 'latin1')
        socket.write(body)
        socket.uncork()
      }
      return
    }
    this.#left = body.length ?? 0
    socket.write(head, 'latin1')
    queueMicrotask(() => this.#handler?.onSent())
  }

  #later (code: FailureCode, message: string): void {
    queueMicrotask(() => this.#fail(code, message))
  }

  readonly #onRead = (count: number, buffer: Uint8Array): boolean => {
    const chunk = Buffer.from(buffer.buffer, buffer.byteOffset, count)
    this.#parse(chunk)
    return !this.#paused
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#parse(chunk)
  }

  #parse (chunk: Buffer): void {
    if (this.#closed) return
    if (this.#paused) {
      // Node may deliver one more read after pause; it must be copied, for the buffer is used again.
      this.#held = this.#held === undefined ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk])
      return
    }
    // Bytes while nothing was asked for: whatever they are, they must never answer the next request.
    if (this.#request === undefined) return this.#close()
    let used: number
    try {
      used = this.#parser.execute(chunk)
    } catch (error) {
      const code = error instanceof ParseError ? error.code : 'malformed'
      return this.#fail(code, (error as Error).message)
    }
    if (this.#closed) return
    if (used < chunk.length) this.#parser.keepAlive = false
    if (this.#ended) this.#finish()
  }

  #finish (): void {
    this.#request = undefined
    if (!this.#parser.keepAlive || !this.#sendDone) return this.#close()
    this.#owner.idle(this)
  }

  get keepAliveHint (): number { return this.#parser.keepAliveHint }

  #onEnd (): void {
    if (this.#closed) return
    if (this.#request === undefined) return this.#close()
    if (this.#paused && this.#held !== undefined) return
    if (this.#parser.end()) return this.#close()
    this.#fail(this.#parser.headSeen ? 'truncated' : 'closed', 'the upstream closed the connection')
  }

  #onError (error: NodeJS.ErrnoException): void {
    if (this.connected) return this.#fail(this.#parser.headSeen && this.#request !== undefined ? 'truncated' : 'reset', error.message, error)
    const { code = '' } = error
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return this.#fail('connect-refused', error.message, error)
    if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return this.#fail('dns', error.message, error)
    const tls = code.startsWith('ERR_TLS') || code.startsWith('ERR_SSL') || /CERT|SIGNATURE|ISSUER|LEAF|CRL/.test(code)
    this.#fail(tls ? 'tls' : 'connect-failed', error.message, error)
  }

  #fail (code: FailureCode, message: string, cause?: unknown): void {
    if (this.#closed) return
    const handler = this.#handler
    const { started, headSeen } = this.#parser
    const phase: FailurePhase = !this.#written ? 'connect' : headSeen ? 'body' : started ? 'head' : 'request'
    const stale = phase === 'request' && this.requests > 1
    this.#handler = undefined
    this.#close()
    handler?.onError(new TransportError(code, phase, message, { cause, stale }))
  }

  #close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#held = NO_BYTES
    this.#clock.clearTimeout(this.#timer)
    this.#socket.destroy()
    this.#owner.closed(this)
  }
}
