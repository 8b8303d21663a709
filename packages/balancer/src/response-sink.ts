import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import { DirectBody } from './direct-body.ts'
import { endDirectly } from './direct-end.ts'
import { fieldOf, lengthLast } from './fields.ts'
import { ForwardedBody } from './forwarded-body.ts'
import { Http2Sink, fieldsOf, resetStream } from './http2-sink.ts'
import { type Fields, hasFields, setFields, wantsOnSend } from './route-context.ts'
import { currentScope } from './scope.ts'

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
export function grouped (list: readonly string[], fields: Fields = Object.create(null) as Fields): Fields {
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!.toLowerCase()
    const value = list[i + 1]!
    // A field may be called `constructor`.
    fields[name] = Object.hasOwn(fields, name) ? [fields[name]!, value].flat() : value
  }
  return fields
}

/** Writes to the socket's response at once; taken only on routes without `onSend` hooks, which it would pass by. */
export class RawSink extends DirectBody implements ResponseSink {
  readonly #response: ServerResponse

  constructor (reply: FastifyReply, status: number, reason: string, headers: readonly string[], set: boolean, sized: boolean, drained: () => void) {
    super(reply.raw, sized, drained, currentScope())
    const response = this.#response = reply.raw
    reply.hijack()
    // Where fields were set on the response itself, as app.inject always does, Node 20 keeps only the last of several in a list.
    if (set || 'isLightMyRequest' in response) response.writeHead(status, reason, grouped(headers))
    else response.writeHead(status, reason, headers as never)
  }

  fail (): void {
    breakOff(this.#response)
  }
}

/** Goes through `reply.send`, so that every `onSend` hook sees it: a body that came together with its head as one Buffer, else a stream. */
export class ReplySink implements ResponseSink {
  readonly #reply: FastifyReply
  readonly #drained: () => void
  readonly #http2: boolean
  #stream: ForwardedBody | undefined
  #sent = false
  #trailers: readonly string[] | undefined
  /** The upstream's. */
  readonly #headers: readonly string[]

  /** `merged`: with those that the app has set. */
  constructor (
    reply: FastifyReply, status: number, headers: readonly string[], merged: readonly string[], length: number, complete: boolean, drained: () => void
  ) {
    const fields = grouped(merged, {})
    this.#headers = headers
    this.#reply = reply
    this.#drained = drained
    // HTTP/2 sends trailers whether they were announced or not.
    this.#http2 = reply.request.raw.httpVersionMajor >= 2
    if (this.#http2) {
      // Node ends the stream with the head when nothing was written before the end, and the trailers are lost.
      if (!complete || 'grpc-status' in fields) reply.raw.once('pipe', flushHead)
      // Fastify ends an empty answer after its head: what gRPC says in a head that is all, it says in the trailers then.
      if (complete) {
        for (const name of GRPC_END) {
          const value = fields[name]
          if (value === undefined) continue
          delete fields[name]
          reply.raw.addTrailers({ [name]: value } as never)
          complete = false
        }
      }
    } else if (fields['trailer'] !== undefined) {
      this.#announce(fields['trailer'])
      delete fields['trailer']
    }
    setFields(reply, fields)
    reply.code(status)
    // Fastify would serialise `null`, and give a Buffer without a type one of its own choice.
    if (complete) this.#sendWhole(undefined)
    // What was read with the head is handed over before this tick ends; a later body must not hold the head back.
    else if (length > 0 && 'content-type' in fields) process.nextTick(beginStream, this)
    else this.begin()
  }

  /** From here on it is a stream. */
  begin (): void {
    if (!this.#sent) this.#send(this.#stream = new ForwardedBody(this.#reply.raw, this.#drained))
  }

  write (chunk: Buffer, last: boolean): boolean {
    if (last && !this.#sent) {
      this.#sendWhole(Buffer.from(chunk))
      return true
    }
    this.begin()
    return this.#stream?.forward(chunk, last) ?? true
  }

  end (trailers: readonly string[] | undefined): void {
    this.#trailers = trailers
    if (this.#http2 && trailers !== undefined) this.#reply.raw.addTrailers(fieldsOf(trailers) as never)
    this.begin()
    this.#stream?.finish()
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
  #announce (names: string | string[]): void {
    for (const name of [names].flat().join(',').split(',').map((part) => part.trim().toLowerCase())) {
      try {
        this.#reply.trailer(name, (_reply, _payload, done) => { done(null, fieldOf(this.#trailers ?? [], name) ?? '') })
      } catch (error) {
        this.#reply.log.debug({ err: error, trailer: name }, 'a trailer is not forwarded')
      }
    }
  }

  #sendWhole (payload: Buffer | undefined): void {
    endDirectly(this.#reply, payload)
    this.#send(payload)
  }

  #send (payload: Buffer | ForwardedBody | undefined): void {
    this.#sent = true
    this.#reply.send(payload)
  }
}

/** Takes the short way where no `onSend` hook would miss what goes by, and for answers to upgrades. */
export function sinkFor (
  reply: FastifyReply, status: number, reason: string, fields: string[], length: number, complete: boolean, upgrade: boolean, drained: () => void
): ResponseSink {
  const list = lengthLast(fields)
  // RFC 9110 15: none of them is valid, and all count as a 5xx. Fastify and node:http2 throw where they are to send one.
  const valid = status > 599 ? 502 : status
  const hooked = !upgrade && wantsOnSend(reply.request, reply, valid, list, complete ? 0 : length)
  const set = reply.raw.getHeaderNames().length > 0
  const merged = set || hasFields(reply) ? mergeHeaders(reply.getHeaders(), list) : list
  if (hooked) return new ReplySink(reply, valid, list, merged, length, complete, drained)
  return reply.request.raw.httpVersionMajor >= 2
    ? new Http2Sink(reply, valid, merged, length, complete, drained)
    : new RawSink(reply, status, reason, merged, set, length >= 0, drained)
}

/** What gRPC says at the end of a call. */
const GRPC_END = ['grpc-status', 'grpc-message', 'grpc-status-details-bin'] as const

function flushHead (this: ServerResponse): void { this.flushHeaders() }

const beginStream = (sink: ReplySink): void => { sink.begin() }
