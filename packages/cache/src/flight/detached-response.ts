import { type IncomingMessage, STATUS_CODES, ServerResponse } from 'node:http'

/** Who takes what a handler answers to a detached request. */
export interface ResponseSink {
  onInterim (status: number, headers: Record<string, string | string[]>): void
  onHead (status: number, reason: string, fields: string[]): void
  /** `false`: wait for `drained`. */
  onData (chunk: Buffer): boolean
  onEnd (): void
  /** Cut off: what came so far is not the whole. */
  onAbort (error: Error | undefined): void
}

type Headers = Readonly<Record<string, unknown>> | readonly unknown[]

function flatten (headers: Headers | undefined, into: string[]): void {
  if (headers === undefined || headers === null) return
  if (Array.isArray(headers)) {
    if (Array.isArray(headers[0])) for (const [name, value] of headers as [string, unknown][]) add(into, name, value)
    else for (let i = 0; i < headers.length; i += 2) add(into, String(headers[i]), headers[i + 1])
  } else for (const name of Object.keys(headers)) add(into, name, (headers as Record<string, unknown>)[name])
}

function add (into: string[], name: string, value: unknown): void {
  if (value === undefined) return
  if (Array.isArray(value)) for (const one of value) into.push(name, String(one))
  else into.push(name, String(value as string | number))
}

/** Names as they were set; Node's types do not know the method. */
function rawNames (response: Pick<ServerResponse, 'getHeaderNames'>): readonly string[] {
  return (response as unknown as { getRawHeaderNames? (): string[] }).getRawHeaderNames?.() ?? response.getHeaderNames()
}

/** All fields of a head: those given to `writeHead`, and those set before that it does not name. */
export function mergedHead (response: Pick<ServerResponse, 'getHeaderNames' | 'getHeader'>, given: Headers | undefined): string[] {
  const fields: string[] = []
  flatten(given, fields)
  const names = new Set<string>()
  for (let i = 0; i < fields.length; i += 2) names.add(fields[i]!.toLowerCase())
  for (const name of rawNames(response)) if (!names.has(name.toLowerCase())) add(fields, name, response.getHeader(name))
  return fields
}

const UNSENT: PropertyDescriptor = { value: 1 }

/** A response without a connection: what a handler or Fastify writes to it goes to a sink. */
export class DetachedResponse extends ServerResponse {
  readonly #sink: ResponseSink
  #blocked = false
  #closed = false

  constructor (request: IncomingMessage, sink: ResponseSink) {
    super(request)
    this.#sink = sink
    // Never 0: whoever writes must not take a chunk for sent, and its memory for free, as nothing is ever sent from here.
    Object.defineProperty(this, 'writableLength', UNSENT)
  }

  override writeHead (status: number, reason?: unknown, headers?: unknown): this {
    // `_header` is what `headersSent` looks at.
    const state = this as unknown as { _header: string | null }
    if (state._header !== null && state._header !== undefined) return this
    const text = typeof reason === 'string' ? reason : STATUS_CODES[status] ?? ''
    const fields = mergedHead(this, (typeof reason === 'string' ? headers : reason ?? headers) as Headers | undefined)
    this.statusCode = status
    this.statusMessage = text
    state._header = 'sent'
    this.#sink.onHead(status, text, fields)
    return this
  }

  override flushHeaders (): void {
    this.writeHead(this.statusCode, this.statusMessage || undefined)
  }

  override write (chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    if (this.finished || this.#closed) return false
    this.flushHeaders()
    const done = typeof encoding === 'function' ? encoding : callback
    if (typeof done === 'function') process.nextTick(done as () => void)
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding as BufferEncoding : 'utf8') : toBuffer(chunk)
    if (bytes.length === 0 || this.#closed) return true
    const more = this.#sink.onData(bytes)
    this.#blocked = !more
    return more
  }

  override end (chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    if (this.finished || this.#closed) return this
    const done = [chunk, encoding, callback].find((one) => typeof one === 'function')
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') this.write(chunk, encoding)
    else this.flushHeaders()
    this.finished = true
    if (!this.#closed) this.#sink.onEnd()
    process.nextTick(() => {
      this.emit('prefinish')
      this.emit('finish')
      if (typeof done === 'function') done()
      this.#close()
    })
    return this
  }

  override destroy (error?: Error): this {
    if (this.destroyed || this.finished) return this
    this.destroyed = true
    this.#sink.onAbort(error)
    process.nextTick(() => { this.#close() })
    return this
  }

  override writeContinue (): void {}

  override writeProcessing (): void {
    this.#sink.onInterim(102, {})
  }

  override writeEarlyHints (hints: Record<string, string | string[]>, callback?: () => void): void {
    this.#sink.onInterim(103, hints)
    callback?.()
  }

  override addTrailers (): void {}
  override setTimeout (): this { return this }

  /** The sink wants more. */
  drained (): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.emit('drain')
  }

  /** Nobody wants the rest: the handler is told as if its client had left. */
  abandon (): void {
    if (this.finished || this.destroyed) return
    this.destroyed = true
    this.#close()
  }

  #close (): void {
    if (this.#closed) return
    this.#closed = true
    this.emit('close')
  }
}

function toBuffer (chunk: unknown): Buffer {
  if (Buffer.isBuffer(chunk)) return chunk
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  return Buffer.from(String(chunk))
}
