import { EventEmitter } from 'node:events'
import { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'

/** What a handler may ask of the connection, kept when the connection is gone. */
class DetachedSocket extends EventEmitter {
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly remoteFamily: string | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly encrypted: boolean
  readonly destroyed = false
  readonly readable = true
  readonly writable = true

  constructor (socket: Socket & { encrypted?: boolean }) {
    super()
    this.remoteAddress = socket.remoteAddress
    this.remotePort = socket.remotePort
    this.remoteFamily = socket.remoteFamily
    this.localAddress = socket.localAddress
    this.localPort = socket.localPort
    this.encrypted = socket.encrypted === true
  }

  setTimeout (): this { return this }
  setNoDelay (): this { return this }
  setKeepAlive (): this { return this }
  ref (): this { return this }
  unref (): this { return this }
  destroy (): this { return this }
}

/** What a fetch asks for: the client's request without some fields, and with others (flat: name, value …). */
export interface HeaderEdit {
  readonly drop: ReadonlySet<string>
  readonly add: readonly string[]
  /** Of the key; the client's socket, which it comes from, may be gone. */
  readonly scheme: 'http' | 'https'
  /** Path and query. */
  readonly target: string
  /** Query parameters that are part of the target. */
  readonly query: unknown
}

/** A message that nothing follows; its end is no concern of any connection. */
class DetachedMessage extends IncomingMessage {
  override _destroy (error: Error | null, callback: (error?: Error | null) => void): void {
    callback(error)
  }
}

function detachRaw (raw: IncomingMessage, { drop, add, target }: HeaderEdit): IncomingMessage {
  const message = new DetachedMessage(new DetachedSocket(raw.socket) as unknown as Socket)
  message.method = raw.method!
  message.url = target
  message.httpVersionMajor = raw.httpVersionMajor
  message.httpVersionMinor = raw.httpVersionMinor
  message.httpVersion = raw.httpVersion
  const fields: string[] = []
  const from = raw.rawHeaders
  for (let i = 0; i < from.length; i += 2) {
    const name = from[i]!
    if (name.charCodeAt(0) !== 58 && !drop.has(name.toLowerCase())) fields.push(name, from[i + 1]!)
  }
  const headers: Record<string, string | string[] | undefined> = {}
  for (const name of Object.keys(raw.headers)) if (!drop.has(name)) headers[name] = raw.headers[name]
  for (let i = 0; i < add.length; i += 2) {
    fields.push(add[i]!, add[i + 1]!)
    headers[add[i]!.toLowerCase()] = add[i + 1]!
  }
  message.rawHeaders = fields
  message.headers = headers
  message.complete = true
  // No body comes with it: whoever reads it is told at once.
  message.push(null)
  return message
}

/** Fastify's own state of the client's connection, which a fetch must not see: its abort signal and its timer. */
const ISOLATED = new Set(['fastify.request.signal', 'fastify.request.timeoutTimer', 'fastify.request.onAbort'])

/** What a detached request keeps beside what it has from the client's: its route's context, and the hook that hears of errors. */
const CONTEXT = Symbol('headgate.cache.context')
const ON_ERROR = Symbol('headgate.cache.onError')
/** What its fields were when it was made. */
const BEFORE = Symbol('headgate.cache.before')

type Context = Readonly<Record<string, unknown>>
type Detached = FastifyRequest & Record<string | symbol, unknown> & { [CONTEXT]: Context }

/** onSend hooks run when a client is answered, for each client. */
const apart = (original: Context, onError: unknown): Context => Object.create(original, {
  onSend: { value: null },
  onError: { value: [...(original['onError'] as unknown[] | null ?? []), onError] }
}) as Context

/** The same two functions for all: V8 would keep those of each request, and all that they reach, until it marks the whole heap. */
const contextProperty: PropertyDescriptor = {
  get (this: Detached) { return this[CONTEXT] },
  // `reply.callNotFound` puts another in its place.
  set (this: Detached, other: Context) { this[CONTEXT] = apart(other, this[ON_ERROR]) }
}

/**
 * The client's request as the handler of a shared fetch sees it: everything that hooks put on it (the user, the session) is there, while
 * the raw message, with the fields edited, is its own and outlives the client's connection. A copy, as V8 gives each object that is
 * another's prototype a hidden class of its own, which lives, and the request with it, until the whole heap is marked.
 */
export function detachRequest (request: FastifyRequest, edit: HeaderEdit, context: symbol, failed: (error: unknown) => void): FastifyRequest {
  const original = request as unknown as Detached
  const detached = Object.create(Object.getPrototypeOf(request) as object) as Detached
  for (const name of Reflect.ownKeys(request)) {
    if (typeof name === 'string') detached[name] = original[name]
    else if (name !== context) detached[name] = ISOLATED.has(name.description ?? '') ? undefined : original[name]
  }
  detached[ON_ERROR] = (_request: unknown, _reply: unknown, error: unknown, done: () => void): void => {
    failed(error)
    done()
  }
  detached[CONTEXT] = apart(original[context] as Context, detached[ON_ERROR])
  Object.defineProperty(detached, context, contextProperty)
  const own = detached as { raw: unknown; query: unknown }
  own.raw = detachRaw(request.raw, edit)
  own.query = edit.query
  // As the key has them: a forwarding field that was left out may not change them now.
  for (const [name, value] of [['host', request.host], ['hostname', request.hostname], ['protocol', edit.scheme]] as const) Object.defineProperty(detached, name, { value })
  detached[BEFORE] = { ...detached }
  return detached
}

/** What the handler put on the request, for hooks and logs of the client that it was run for. */
export function handBack (detached: FastifyRequest, request: FastifyRequest): void {
  const { [BEFORE]: before } = detached as unknown as { readonly [BEFORE]: Readonly<Record<string, unknown>> }
  for (const name of Object.keys(detached)) {
    const value = (detached as Detached)[name]
    if (value !== before[name]) (request as unknown as Record<string, unknown>)[name] = value
  }
}
