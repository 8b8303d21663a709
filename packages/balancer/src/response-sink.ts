import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { type TurnWrite, writeInTurn } from '@headgate/core'
import { fieldOf } from './fields.ts'
import { Http2Sink, fieldsOf, resetStream } from './http2-sink.ts'
import { hasFields, wantsOnSend } from './route-context.ts'

/** Where a response's body goes. `write` false: wait for `drained`. */
export interface ResponseSink {
  write (chunk: Buffer, last: boolean): boolean
  end (trailers: readonly string[] | undefined): void
  /** The upstream broke off: the client must see that too. */
  fail (error: Error): void
}

/** Fields that the app set before, merged with the upstream's: the app's win, but Vary is joined and Set-Cookie added. */
export function mergeHeaders (own: Readonly<Record<string, number | string | string[] | undefined>>, upstream: readonly string[]): string[] {
  const names = Object.keys(own)
  if (names.length === 0) return upstream as string[]
  const list: string[] = []
  const vary = own['vary'] === undefined ? '' : String(own['vary'])
  let varied = ''
  for (let i = 0; i < upstream.length; i += 2) {
    const lower = upstream[i]!.toLowerCase()
    if (lower === 'vary' && vary !== '') varied += `, ${upstream[i + 1]!}`
    else if (lower === 'set-cookie' || lower === 'content-length' || !Object.hasOwn(own, lower)) list.push(upstream[i]!, upstream[i + 1]!)
  }
  for (const name of names) {
    const value = own[name]
    if (name === 'content-length' || value === undefined) continue
    if (name === 'vary') list.push('vary', vary + varied)
    else if (Array.isArray(value)) for (const one of value) list.push(name, one)
    else list.push(name, String(value))
  }
  return list
}

/** Breaks the client's transfer. To an HTTP/1.0 client without a length, the usual FIN would look like the body's end. */
function breakOff (response: ServerResponse): void {
  if (response.req.httpVersion === '1.0') response.socket?.resetAndDestroy?.()
  response.destroy()
}

/** A flat list as an object, with arrays for fields that come several times. */
export function grouped (list: readonly string[]): Record<string, string | string[]> {
  // A field may be called `constructor`.
  const fields = Object.create(null) as Record<string, string | string[]>
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!.toLowerCase()
    const before = fields[name]
    fields[name] = before === undefined ? list[i + 1]! : [before, list[i + 1]!].flat()
  }
  return fields
}

/**
 * Up to this size a body goes out in one string with its head: cheaper than a gathered write of two. Node writes strings of up to 16 KiB
 * from its stack, longer ones from memory that it has to ask for.
 */
const JOIN_LIMIT = 15_360

/**
 * Writes to the socket's response at once; taken only on routes without `onSend` hooks, which it would pass by.
 *
 * Pieces are written from the transport's own buffer, without a copy: what the socket takes at once is gone when the write
 * returns. Only what it does not take is held, and the upstream with it, until the socket is empty.
 */
export class RawSink implements ResponseSink, TurnWrite {
  readonly #response: ServerResponse
  readonly #drained: () => void
  /** Content-Length is known: the last piece is the end, since no trailers can follow. */
  readonly #sized: boolean
  /** The last piece of a body without a length. */
  #last: Buffer | undefined
  /** The end waits for the turn's writes, after the last piece of a short body. */
  #ending = false
  #text = ''

  constructor (reply: FastifyReply, status: number, reason: string, headers: readonly string[], set: boolean, sized: boolean, drained: () => void) {
    const response = this.#response = reply.raw
    reply.hijack()
    this.#drained = drained
    this.#sized = sized
    // Where fields were set on the response itself, as app.inject always does, Node 20 keeps only the last of several in a list.
    if (set || 'isLightMyRequest' in response) response.writeHead(status, reason, grouped(headers))
    else response.writeHead(status, reason, headers as never)
  }

  write (chunk: Buffer, last: boolean): boolean {
    const response = this.#response
    const { socket } = response
    if (last && !this.#sized) {
      // The end follows at once, with trailers or without: both leave in one write.
      this.#last = Buffer.from(chunk)
      return true
    }
    // A response that waits for its turn has no socket yet; and what comes behind a backlog would only be held longer.
    if (socket?.writableLength !== 0) return this.#keep(Buffer.from(chunk), last)
    if (last && chunk.length <= JOIN_LIMIT) {
      this.#text = chunk.toString('latin1')
      this.#endInTurn()
      return true
    }
    // TLS tells only later that it has enciphered a piece: holding each of them would cost more than the copy.
    if ('encrypted' in socket) return this.#keep(Buffer.from(chunk), last)
    // Corked by us, so that Node does not put the write off to the next tick.
    socket.cork()
    if (last) response.end(chunk)
    else response.write(chunk)
    socket.uncork()
    if (socket.writableLength === 0) return true
    // Runs when all before it has been handed to the system.
    socket.write('', this.#drained)
    return false
  }

  end (trailers: readonly string[] | undefined): void {
    if (this.#ending || this.#response.writableEnded) return
    if (trailers !== undefined) {
      const pairs: [string, string][] = []
      for (let i = 0; i < trailers.length; i += 2) pairs.push([trailers[i]!, trailers[i + 1]!])
      this.#response.addTrailers(pairs)
    }
    // As above: what waits for its turn, or for the client, is in nobody's way.
    if (this.#response.socket?.writableLength === 0) this.#endInTurn()
    else this.#response.end(this.#last)
  }

  fail (): void {
    breakOff(this.#response)
  }

  writeNow (): void {
    const response = this.#response
    const { socket } = response
    // The client has left meanwhile, or somebody else has ended the response.
    if (socket === null || response.destroyed) return
    if (this.#text === '') {
      response.end(this.#last)
      return
    }
    // TLS tells only later that it has enciphered a piece: the end, which is an empty write then, would wait for a turn of its own.
    const encrypted = 'encrypted' in socket
    if (encrypted) socket.cork()
    writeWhole(response, socket, this.#text)
    response.end()
    if (encrypted) socket.uncork()
  }

  #endInTurn (): void {
    this.#ending = true
    writeInTurn(this)
  }

  #keep (copy: Buffer, last: boolean): boolean {
    if (last) {
      this.#response.end(copy)
      return true
    }
    if (this.#response.write(copy)) return true
    this.#response.once('drain', this.#drained)
    return false
  }
}

/** What Node's responses keep of their heads. */
interface Head {
  _header?: string | null
  _headerSent?: boolean
}

const { write } = ServerResponse.prototype

/**
 * Writes what is left of a response, its head included where that has not gone out. Node's own `write` would cork the socket, keep
 * head and body and write them when uncorked, which costs more than all the rest of it: so they go to the socket here, unless
 * somebody looks at what is written.
 */
function writeWhole (response: ServerResponse & Head, socket: Socket, text: string): void {
  const { _header: head } = response
  if (response._headerSent === false && typeof head === 'string' && response.write === write && !response.strictContentLength) {
    response._headerSent = true
    socket.write(head + text, 'latin1')
    return
  }
  socket.cork()
  response.write(text, 'latin1')
  socket.uncork()
}

/** Goes through `reply.send`, so that every `onSend` hook sees it: a body that came together with its head as one Buffer, else a stream. */
export class ReplySink implements ResponseSink {
  readonly #reply: FastifyReply
  readonly #drained: () => void
  readonly #http2: boolean
  #stream: Readable | undefined
  #sent = false
  #trailers: readonly string[] | undefined
  /** The upstream's. */
  readonly #headers: readonly string[]

  constructor (reply: FastifyReply, status: number, headers: readonly string[], length: number, complete: boolean, drained: () => void) {
    this.#headers = headers
    const merged = mergeHeaders(reply.getHeaders(), headers)
    const fields = new Map<string, string | string[]>()
    for (let i = 0; i < merged.length; i += 2) {
      const name = merged[i]!.toLowerCase()
      const before = fields.get(name)
      fields.set(name, before === undefined ? merged[i + 1]! : [before, merged[i + 1]!].flat())
    }
    for (const name of Object.keys(reply.getHeaders())) reply.removeHeader(name)
    this.#reply = reply
    this.#drained = drained
    // HTTP/2 sends trailers whether they were announced or not.
    this.#http2 = reply.request.raw.httpVersionMajor >= 2
    if (this.#http2) {
      // Node ends the stream with the head when nothing was written before the end, and the trailers are lost.
      if (!complete || fields.has('grpc-status')) reply.raw.once('pipe', flushHead)
      // Fastify ends an empty answer after its head: what gRPC says in a head that is all, it says in the trailers then.
      if (complete) {
        for (const name of GRPC_END) {
          const value = fields.get(name)
          if (value === undefined) continue
          fields.delete(name)
          reply.raw.addTrailers({ [name]: value } as never)
          complete = false
        }
      }
    } else {
      this.#announce(fields.get('trailer'))
      fields.delete('trailer')
    }
    for (const [name, value] of fields) reply.header(name, value)
    reply.code(status)
    // Fastify would serialise `null`, and give a Buffer without a type one of its own choice.
    if (complete) this.#send(undefined)
    // What was read with the head is handed over before this tick ends; a later body must not hold the head back.
    else if (length > 0 && fields.has('content-type')) process.nextTick(beginStream, this)
    else this.begin()
  }

  /** From here on it is a stream. */
  begin (): void {
    if (!this.#sent) this.#send(this.#stream = new Readable({ read: this.#drained }))
  }

  write (chunk: Buffer, last: boolean): boolean {
    const copy = Buffer.from(chunk)
    if (last && !this.#sent) {
      this.#send(copy)
      return true
    }
    this.begin()
    return this.#stream?.push(copy) ?? true
  }

  end (trailers: readonly string[] | undefined): void {
    this.#trailers = trailers
    if (this.#http2 && trailers !== undefined) this.#reply.raw.addTrailers(fieldsOf(trailers) as never)
    this.begin()
    this.#stream?.push(null)
  }

  fail (error: Error): void {
    this.begin()
    if (!this.#reply.raw.headersSent) this.#withdraw()
    if (this.#http2) resetStream(this.#reply.raw)
    this.#stream?.destroy(error)
    if (this.#reply.request.raw.httpVersion === '1.0') breakOff(this.#reply.raw)
  }

  /** Fastify is going to tell of the error: what described the response, such as how long it may be kept, says nothing about that. */
  #withdraw (): void {
    for (let i = 0; i < this.#headers.length; i += 2) {
      this.#reply.removeHeader(this.#headers[i]!)
      this.#reply.raw.removeHeader(this.#headers[i]!)
    }
  }

  /** Fastify sends trailers that were named before the body. */
  #announce (names: string | string[] | undefined): void {
    if (names === undefined) return
    for (const name of [names].flat().join(',').split(',').map((part) => part.trim().toLowerCase())) {
      try {
        this.#reply.trailer(name, (_reply, _payload, done) => { done(null, fieldOf(this.#trailers ?? [], name) ?? '') })
      } catch (error) {
        this.#reply.log.debug({ err: error, trailer: name }, 'a trailer is not forwarded')
      }
    }
  }

  #send (payload: Buffer | Readable | undefined): void {
    this.#sent = true
    this.#reply.send(payload)
  }
}

/** Takes the short way where no `onSend` hook would miss what goes by, and for answers to upgrades. */
export function sinkFor (
  reply: FastifyReply, status: number, reason: string, list: string[], length: number, complete: boolean, upgrade: boolean, drained: () => void
): ResponseSink {
  if (!upgrade && wantsOnSend(reply.request, reply, status, list, complete ? 0 : length)) return new ReplySink(reply, status, list, length, complete, drained)
  const { raw } = reply
  const set = raw.getHeaderNames().length > 0
  const merged = set || hasFields(reply) ? mergeHeaders(reply.getHeaders(), list) : list
  return reply.request.raw.httpVersionMajor >= 2
    ? new Http2Sink(reply, status, merged, length, complete, drained)
    : new RawSink(reply, status, reason, merged, set, length >= 0, drained)
}

/** What gRPC says at the end of a call. */
const GRPC_END = ['grpc-status', 'grpc-message', 'grpc-status-details-bin'] as const

function flushHead (this: ServerResponse): void { this.flushHeaders() }

const beginStream = (sink: ReplySink): void => { sink.begin() }
