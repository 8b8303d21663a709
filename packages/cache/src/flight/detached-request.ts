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

/**
 * The client's request as the handler of a shared fetch sees it: everything that hooks put on it (the user, the session) is there
 * through the prototype, while the raw message, with the fields edited, is its own and outlives the client's connection.
 */
export function detachRequest (request: FastifyRequest, edit: HeaderEdit, context: symbol, failed: (error: unknown) => void): FastifyRequest {
  const onError = (_request: unknown, _reply: unknown, error: unknown, done: () => void): void => {
    failed(error)
    done()
  }
  // onSend hooks run when a client is answered, for each client.
  const apart = (original: Record<string, unknown>): unknown => Object.create(original, {
    onSend: { value: null },
    onError: { value: [...(original['onError'] as unknown[] | null ?? []), onError] }
  })
  let route = apart((request as unknown as Record<symbol, Record<string, unknown>>)[context]!)
  const detached = Object.create(request, {
    raw: { value: detachRaw(request.raw, edit), writable: true },
    // `reply.callNotFound` puts another in its place.
    [context]: { get: () => route, set: (other: Record<string, unknown>) => { route = apart(other) } },
    query: { value: edit.query, writable: true },
    // As the key has them: a forwarding field that was left out may not change them now.
    host: { value: request.host },
    hostname: { value: request.hostname },
    protocol: { value: edit.scheme }
  }) as FastifyRequest
  for (const symbol of Object.getOwnPropertySymbols(request)) {
    if (ISOLATED.has(symbol.description ?? '')) Object.defineProperty(detached, symbol, { value: undefined, writable: true })
  }
  return detached
}

/** What the handler put on the request, for hooks and logs of the client that it was run for. */
export function handBack (detached: FastifyRequest, request: FastifyRequest): void {
  for (const name of Object.keys(detached)) (request as unknown as Record<string, unknown>)[name] = (detached as unknown as Record<string, unknown>)[name]
}
