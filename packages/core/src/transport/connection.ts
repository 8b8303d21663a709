import type { Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type { Clock, Timer } from '../clock.ts'
import type { Target } from '../target.ts'
import { type TurnWrite, writeInTurn } from '../turn-writes.ts'
import { type Open, type TlsSession, connectFailure } from './connect.ts'
import { type Attempt, type AttemptHandler, type FailureCode, type FailurePhase, TransportError, type TransportRequest } from './contract.ts'
import type { ReadBuffers } from './read-buffers.ts'
import { fieldText, headText } from './request-head.ts'
import { ParseError, type ParserEvents, ResponseParser } from './response-parser.ts'

export interface ConnectionSettings {
  readonly open: Open
  readonly connectTimeout: number
  readonly maxHeadSize: number
  readonly unknownCodings: boolean
  readonly tls: ConnectionOptions
  readonly session: TlsSession
  readonly buffers: ReadBuffers
}

/** Who keeps the connections. */
export interface ConnectionOwner {
  connected (connection: Connection): void
  /** The exchange ended well. False: the connection is not kept. */
  idle (connection: Connection): boolean
  /** Called once, for upgraded ones when the tunnel has ended. `connecting`: it never was open. */
  closed (connection: Connection, connecting: boolean): void
}

/** Up to this size a body is copied behind its head: one write is cheaper than two gathered ones. */
const JOIN_LIMIT = 16_384
const NO_FIELDS: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding'])

/** The hold on one exchange. It lets go of the connection at the end, so that a late call never touches the next exchange. */
export class NativeAttempt implements Attempt {
  readonly request: TransportRequest
  readonly handler: AttemptHandler
  connection: Connection | undefined

  constructor (request: TransportRequest, handler: AttemptHandler, connection: Connection | undefined) {
    this.request = request
    this.handler = handler
    this.connection = connection
  }

  write (chunk: Buffer): boolean { return this.connection === undefined || this.connection.write(chunk) }
  lend (chunk: Buffer): boolean { return this.connection === undefined || this.connection.lend(chunk) }
  get flushed (): boolean { return this.connection !== undefined && this.connection.flushed }
  end (trailers?: readonly string[]): void { this.connection?.end(trailers) }
  resume (): void { this.connection?.resume() }
  abort (): void { this.connection?.abort() }
}

/** One connection to one upstream, one exchange at a time. */
export class Connection implements ParserEvents, TurnWrite {
  readonly createdAt: number
  requests = 0
  /** Clock time since which it lies idle, and until which it may. */
  idleSince = 0
  idleUntil = 0
  /** It does not keep the process alive. */
  #resting = false
  readonly #owner: ConnectionOwner
  readonly #clock: Clock
  readonly #buffers: ReadBuffers
  readonly #socket: Socket
  readonly #secure: boolean
  /** Without a read buffer of ours: for exchanges that may become tunnels. Never used again. */
  readonly #raw: boolean
  readonly #parser: ResponseParser
  #buffer: Buffer
  /** Its buffer is that of an idle one. */
  #idle = false
  /** Bytes that this exchange brought. */
  #bytes = 0
  /** Holds the piece that the handler keeps back; another one is read into meanwhile. */
  #held: Buffer | undefined
  /** Within the socket's read callback, after which it asks for the buffer of the next read; else it has that already. */
  #reading = false
  #timer: Timer
  #attempt: NativeAttempt | undefined
  #connected = false
  #closed = false
  #upgraded = false
  /** Bytes of the request may be on the wire. */
  #written = false
  #sendDone = false
  /** The head of a request that is not written yet: until the turn's writes, or, where a body is streamed, until there is some of it. */
  #head: string | undefined
  /** Bytes of the request's body still to come; NaN when chunked. */
  #left = 0
  #paused = false
  /** The response is complete, but the handler holds its last piece. */
  #ending = false
  #extra = false
  /** What came while paused: TLS goes on with what is deciphered already. */
  #backlog: Buffer[] | undefined
  #peerEnded = false

  constructor (owner: ConnectionOwner, target: Target, settings: ConnectionSettings, clock: Clock, raw: boolean) {
    this.#owner = owner
    this.#clock = clock
    this.#buffers = settings.buffers
    this.#raw = raw
    this.#secure = target.protocol === 'https:'
    this.createdAt = clock.now()
    this.#parser = new ResponseParser(this, settings.maxHeadSize, settings.unknownCodings)
    this.#buffer = settings.buffers.take()
    // With onread a socket never emits 'data', which whoever takes over a tunnel needs.
    const onread = raw ? undefined : { buffer: this.#nextBuffer, callback: this.#onRead as (count: number, buffer: Uint8Array) => boolean }
    const socket = this.#socket = settings.open(target, settings.tls, settings.session, onread)
    socket.on(this.#secure ? 'secureConnect' : 'connect', this.#onConnect)
    socket.on('drain', this.#onDrain)
    socket.on('end', this.#onPeerEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    if (raw) socket.on('data', this.#onData)
    const { connectTimeout } = settings
    this.#timer = clock.setTimeout(() => { this.#fail('connect-timeout', `no connection within ${connectTimeout} ms`) }, connectTimeout)
  }

  /** Takes the next exchange. The handler hears nothing before this has returned. */
  start (attempt: NativeAttempt): void {
    this.#attempt = attempt
    this.#written = this.#sendDone = this.#ending = this.#extra = false
    this.#bytes = 0
    this.#parser.reset(attempt.request.method, attempt.request.upgrade)
    if (this.requests++ > 0) {
      this.#leaveIdle()
      if (this.#resting) {
        this.#socket.ref()
        this.#resting = false
      }
      this.#send(attempt, true)
    }
  }

  get keepAliveHint (): number { return this.#parser.keepAliveHint }
  get flushed (): boolean { return this.#socket.writableLength === 0 }

  /** While it lies idle, it shall not keep the process alive. Not at once: between two requests that follow each other it would cost more than it brings. */
  rest (): void {
    if (this.#resting) return
    this.#socket.unref()
    this.#resting = true
  }

  write (chunk: Buffer): boolean {
    if (!this.#written || this.#sendDone || chunk.length === 0) return true
    const socket = this.#socket
    if (!Number.isNaN(this.#left)) {
      this.#left -= chunk.length
      if (this.#left >= 0) return this.#push(chunk)
      this.#sendDone = true
      this.#failLater('request-too-long', 'the request body is longer than its Content-Length')
      return false
    }
    socket.cork()
    this.#sendHead()
    socket.write(chunk.length.toString(16) + '\r\n', 'latin1')
    socket.write(chunk)
    const more = socket.write('\r\n', 'latin1')
    socket.uncork()
    return more || socket.writableLength === 0
  }

  lend (chunk: Buffer): boolean {
    // Of less than the bound the socket does not say when it is done with it.
    return this.write(chunk.length < this.#socket.writableHighWaterMark ? Buffer.from(chunk) : chunk)
  }

  end (trailers?: readonly string[]): void {
    if (!this.#written || this.#sendDone) return
    this.#sendDone = true
    // Too short: the upstream must never take the next request's bytes for this body.
    if (this.#left > 0) return this.#failLater('truncated', 'the request body is shorter than its Content-Length')
    if (!Number.isNaN(this.#left)) return
    const fields = trailers === undefined ? '' : fieldText(trailers, NO_FIELDS)
    if (fields === undefined) return this.#failLater('malformed', 'a trailer of the request cannot be sent')
    this.#sendHead()
    this.#socket.write(`0\r\n${fields}\r\n`, 'latin1')
  }

  resume (): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#held !== undefined) {
      this.#buffers.give(this.#held)
      this.#held = undefined
    }
    while (this.#backlog !== undefined && !this.#paused && !this.#ending && !this.#closed) {
      const chunk = this.#backlog.shift()!
      if (this.#backlog.length === 0) this.#backlog = undefined
      this.#parse(chunk, chunk.length)
    }
    if (this.#paused || this.#closed) return
    // Before the end is told: the connection may be given to another exchange by then, which must be able to read.
    this.#socket.resume()
    if (this.#ending) return this.#complete()
    if (this.#peerEnded) this.#onPeerEnd()
  }

  abort (): void {
    this.#detach()
    this.#close()
  }

  /** Breaks it; a running exchange hears `destroyed`. */
  destroy (): void {
    if (this.#upgraded) this.#socket.destroy()
    else this.#fail('destroyed', 'the connection was closed by the proxy')
  }

  writeNow (): void { this.#sendHead() }

  // What the parser tells.

  informational (status: number, headers: readonly string[]): void {
    this.#attempt!.handler.onInformational(status, headers)
  }

  head (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void {
    this.#attempt!.handler.onHead(status, reason, headers, length, complete)
  }

  data (chunk: Buffer, last: boolean): void {
    const attempt = this.#attempt!
    if (attempt.handler.onData(chunk, last) || attempt.connection === undefined) return
    this.#paused = true
    if (this.#raw) this.#socket.pause()
  }

  // What the socket tells.

  readonly #onConnect = (): void => {
    if (this.#closed) return
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#connected = true
    this.#owner.connected(this)
    if (this.#attempt !== undefined) this.#send(this.#attempt, false)
  }

  /**
   * Asked by the socket at its creation and after each read. TLS goes on with what is deciphered already, whatever was
   * answered: what comes then must not be written over the piece that is held.
   */
  readonly #nextBuffer = (): Buffer => {
    if (this.#paused && this.#secure && this.#held === undefined && !this.#closed) {
      this.#held = this.#buffer
      this.#buffer = this.#buffers.take()
    }
    return this.#buffer
  }

  readonly #onRead = (count: number, buffer: Buffer): boolean => {
    this.#reading = true
    this.#received(buffer, count)
    this.#reading = false
    return !this.#paused
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#received(chunk, chunk.length)
  }

  #received (buffer: Buffer, count: number): void {
    if (this.#closed) return
    // Bytes while nothing was asked for: whatever they are, they must never answer the next request.
    if (this.#attempt === undefined) return this.#close()
    // Nor one that is on no wire yet; on a new connection it is for the parser to say what is wrong with a greeting.
    if (this.#head !== undefined && this.requests > 1) return this.#fail('closed', 'the upstream sent something before it was asked')
    if (this.#paused) {
      const copy = Buffer.from(buffer.subarray(0, count))
      if (this.#backlog === undefined) this.#backlog = [copy]
      else this.#backlog.push(copy)
      return
    }
    this.#bytes += count
    this.#parse(buffer, count)
    // The response goes on, or a piece in the small buffer is held: the next read gets a large one.
    if (this.#attempt === undefined || this.#closed || !this.#buffers.isSmall(this.#buffer)) return
    const small = this.#buffer
    this.#buffer = this.#buffers.take()
    if (!this.#paused) this.#buffers.give(small)
  }

  #parse (buffer: Buffer, count: number): void {
    const parser = this.#parser
    let used: number
    try {
      used = parser.execute(buffer, count)
    } catch (error) {
      if (!(error instanceof ParseError)) throw error
      return this.#fail(error.code, error.message)
    }
    if (this.#closed) return
    if (parser.switched) return this.#upgrade(buffer, used, count)
    if (!parser.done) return
    if (used < count || this.#backlog !== undefined) this.#extra = true
    if (this.#paused) this.#ending = true
    else this.#complete()
  }

  #complete (): void {
    const { handler } = this.#attempt!
    const { trailers } = this.#parser
    this.#detach()
    // Given back first: what the handler starts in onComplete can use it.
    const reusable = this.#parser.keepAlive && this.#sendDone && !this.#extra && !this.#raw && !this.#peerEnded && this.#backlog === undefined
    if (reusable && this.#owner.idle(this)) {
      this.#buffer = this.#buffers.idle(this.#buffer, this.#bytes, this.#reading)
      this.#idle = true
    } else this.#close()
    handler.onComplete(trailers)
  }

  #upgrade (buffer: Buffer, from: number, to: number): void {
    const { handler } = this.#attempt!
    const head = Buffer.from(buffer.subarray(from, to))
    const socket = this.#socket
    this.#detach()
    this.#upgraded = true
    socket.off('drain', this.#onDrain).off('end', this.#onPeerEnd).off('data', this.#onData)
    // Neither flowing nor paused, so that whoever takes it over can pipe or listen; as node:http does it.
    ;(socket as { readableFlowing: boolean | null }).readableFlowing = null
    handler.onUpgrade(this.#parser.switchedHeaders, socket, head)
  }

  readonly #onDrain = (): void => {
    if (this.#attempt !== undefined && !this.#sendDone) this.#attempt.handler.onDrain()
  }

  readonly #onPeerEnd = (): void => {
    if (this.#closed) return
    this.#peerEnded = true
    if (this.#attempt === undefined) return this.#close()
    if (this.#paused) return
    if (this.#parser.end()) this.#complete()
    else this.#fail(this.#parser.headSeen ? 'truncated' : 'closed', 'the upstream closed the connection')
  }

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    if (this.#upgraded) return
    if (!this.#connected) return this.#fail(connectFailure(error, this.#secure), error.message, error)
    const code = error.code?.startsWith('ERR_SSL') === true ? 'tls' : 'reset'
    this.#fail(this.#parser.headSeen ? 'truncated' : code, error.message, error)
  }

  readonly #onClose = (): void => {
    if (this.#upgraded) {
      this.#closed = true
      return this.#owner.closed(this, false)
    }
    if (!this.#closed) this.#fail(this.#parser.headSeen ? 'truncated' : 'closed', 'the connection is closed')
  }

  #send (attempt: NativeAttempt, reused: boolean): void {
    const { request } = attempt
    const { body } = request
    const head = headText(request)
    if (head === undefined) return this.#failLater('malformed', 'a part of the request cannot be sent')
    this.#written = true
    if (body === null || Buffer.isBuffer(body)) {
      this.#sendDone = true
      this.#head = head
      if (body === null || body.length === 0) writeInTurn(this)
      else this.#push(body)
      return
    }
    this.#left = body.length ?? NaN
    // Held until the owner has had its turn, so that the head and what is there of the body leave together.
    this.#head = head
    if (reused) process.nextTick(this.#started, attempt)
    else this.#started(attempt)
  }

  readonly #started = (attempt: NativeAttempt): void => {
    if (attempt.connection === undefined) return
    attempt.handler.onSent()
    if (attempt.connection !== undefined) this.#sendHead()
  }

  #sendHead (): void {
    if (this.#head === undefined) return
    this.#socket.write(this.#head, 'latin1')
    this.#head = undefined
  }

  /** Writes a piece of a body whose length was told, the head before it. False: the socket has some of it still. */
  #push (chunk: Buffer): boolean {
    const socket = this.#socket
    const head = this.#head
    let more: boolean
    if (head === undefined) more = socket.write(chunk)
    else {
      this.#head = undefined
      if (chunk.length <= JOIN_LIMIT) {
        const whole = Buffer.allocUnsafe(head.length + chunk.length)
        whole.write(head, 'latin1')
        chunk.copy(whole, head.length)
        more = socket.write(whole)
      } else {
        socket.cork()
        socket.write(head, 'latin1')
        more = socket.write(chunk)
        socket.uncork()
      }
    }
    // A piece as large as the bound counts as too much, also when the system has taken it: then there is nothing to wait for.
    return more || socket.writableLength === 0
  }

  #failLater (code: FailureCode, message: string): void {
    const attempt = this.#attempt
    process.nextTick(() => { if (this.#attempt === attempt) this.#fail(code, message) })
  }

  #fail (code: FailureCode, message: string, cause?: unknown): void {
    if (this.#closed) return
    const attempt = this.#attempt
    const { started, headSeen } = this.#parser
    this.#detach()
    this.#close()
    if (attempt === undefined) return
    const phase: FailurePhase = !this.#written ? 'connect' : headSeen ? 'body' : started ? 'head' : 'request'
    const stale = phase === 'request' && this.requests > 1 && (code === 'closed' || code === 'reset')
    attempt.handler.onError(new TransportError(code, phase, message, { cause, stale }))
  }

  #detach (): void {
    if (this.#attempt !== undefined) this.#attempt.connection = undefined
    this.#attempt = undefined
    // What was given up before its turn to be written is not sent.
    this.#head = undefined
  }

  #leaveIdle (): void {
    if (!this.#idle) return
    this.#idle = false
    this.#buffers.busy(this.#buffer)
  }

  #close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#leaveIdle()
    this.#clock.clearTimeout(this.#timer)
    this.#parser.stop()
    this.#backlog = undefined
    this.#socket.destroy()
    // A piece that is held may still be on its way to a client: then the buffer is left to the collector.
    if (!this.#paused) this.#buffers.give(this.#buffer)
    this.#owner.closed(this, !this.#connected)
  }
}
