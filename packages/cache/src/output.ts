import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { breakOff } from './break-off.ts'
import { JOIN_LIMIT, LastWrite } from './last-write.ts'
import { keepReady, type Prepared, sendReady } from './prepared.ts'
import { passedBy } from './route-context.ts'
import { type Fields, lengthLast, single } from './semantics/fields.ts'

/** The client's side of a body that arrives piece by piece. */
export interface Output {
  /** `false`: wait for the `drained` call. */
  write (chunk: Buffer): boolean
  end (): void
  /** The rest will not come: the client must see that. */
  fail (error: Error): void
}

/**
 * Fields that hooks set on this reply before, merged with those of the response: this client's own win, but Vary and Cache-Status
 * are joined, and cookies are added. Content-Length is always the response's.
 */
export function mergeOwn (own: Readonly<Record<string, number | string | readonly string[] | undefined>>, fields: Fields): string[] {
  const merged: string[] = []
  const vary = own['vary'] === undefined ? '' : String(own['vary'])
  let varied = vary
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    if (name === 'vary' && vary !== '') varied += `, ${fields[i + 1]!}`
    // A field may be called `constructor`.
    else if (own[name] === undefined || !Object.hasOwn(own, name) || name === 'set-cookie' || name === 'content-length' || name === 'cache-status') merged.push(fields[i]!, fields[i + 1]!)
  }
  for (const name of Object.keys(own)) {
    const value = own[name]
    if (value === undefined || name === 'content-length') continue
    if (name === 'vary') merged.push('vary', varied)
    else if (typeof value === 'object') for (const one of value) merged.push(name, one)
    else merged.push(name, String(value))
  }
  return merged
}

function isEmpty (object: object): boolean {
  for (const _ in object) return false
  return true
}

/** Writes a head from a flat list, in HTTP/2 too, where Node takes an object only. */
export function writeHead (response: ServerResponse, status: number, reason: string, fields: readonly string[]): ServerResponse {
  if (response.req.httpVersionMajor >= 2) return response.writeHead(status, joined(grouped(fields)) as never)
  const list = lengthLast(fields) as string[]
  return reason === '' ? response.writeHead(status, list) : response.writeHead(status, reason, list)
}

function endWith (raw: ServerResponse, body: Buffer | undefined, request: FastifyRequest): void {
  const { socket } = raw
  // A response that waits for its turn has no socket yet.
  if (body === undefined || body.length === 0 || body.length > JOIN_LIMIT || raw.req.httpVersionMajor >= 2 || socket?.writableLength !== 0 || raw.req.method === 'HEAD') {
    raw.end(body)
    return
  }
  new LastWrite(raw, raw, body.toString('latin1')).make(request)
}

function grouped (fields: Fields): Record<string, string | string[]> {
  // A field may be called `constructor`.
  const headers = Object.create(null) as Record<string, string | string[]>
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    const before = headers[name]
    headers[name] = before === undefined ? fields[i + 1]! : [before, fields[i + 1]!].flat()
  }
  return headers
}

/** node:http2 throws where a field that is no list comes several times; RFC 9110 5.3 allows one line instead, but for Set-Cookie. */
function joined (headers: Record<string, string | string[]>): Record<string, string | string[]> {
  for (const name in headers) if (Array.isArray(headers[name]) && name !== 'set-cookie') headers[name] = headers[name].join(', ')
  return headers
}

/** Puts the head on a reply that goes through Fastify's hooks. */
function setHead (reply: FastifyReply, status: number, fields: Fields): void {
  const merged = lengthLast(mergeOwn(reply.getHeaders(), fields))
  for (const name of Object.keys(reply.getHeaders())) reply.removeHeader(name)
  const headers = grouped(merged)
  for (const name of Object.keys(headers)) reply.header(name, headers[name])
  reply.code(status)
}

/**
 * Answers with a complete body. `fast`: the route has no onSend hook, so nothing can notice that the answer is written at once; the same
 * goes for hooks that say so.
 * For HEAD and 304 there is no body, while the fields stay. `again`: `fields`, which are going to be sent with the same body again.
 */
export function sendComplete (
  reply: FastifyReply, status: number, reason: string, fields: Fields, body: Buffer | undefined, fast: boolean, again?: Prepared
): void {
  const direct = fast ? fields : passedBy(reply, status, fields, body?.length ?? 0)
  if (direct !== undefined) {
    const own = reply.getHeaders()
    const as = isEmpty(own) ? direct : mergeOwn(own, direct)
    const ready = as === again?.fields ? again : undefined
    reply.hijack()
    const { raw } = reply
    if (ready !== undefined && sendReady(raw, status, ready, reply.request)) return
    writeHead(raw, status, reason, as)
    if (ready !== undefined) keepReady(raw, ready, body)
    endWith(raw, body, reply.request)
    return
  }
  setHead(reply, status, fields)
  if (reply.request.method === 'HEAD' && body === undefined) reply.send(Readable.from([]))
  else if (body === undefined || body.length === 0) reply.send()
  // As a stream where there is no Content-Type: with a Buffer Fastify would make one up.
  else reply.send(reply.hasHeader('content-type') ? body : Readable.from([body]))
}

/** Nothing was sent yet, and Fastify is going to tell of an error: what described the response, such as how long it may be kept, says nothing about that. */
function withdraw (reply: FastifyReply, fields: Fields): void {
  for (let i = 0; i < fields.length; i += 2) {
    reply.removeHeader(fields[i]!)
    reply.raw.removeHeader(fields[i]!)
  }
}

/** Opens an answer whose body comes later. */
export function openOutput (reply: FastifyReply, status: number, reason: string, fields: Fields, fast: boolean, drained: () => void): Output {
  const length = single(fields, 'content-length')
  const direct = fast ? fields : passedBy(reply, status, fields, length === undefined ? -1 : Number(length))
  if (direct !== undefined) {
    const own = reply.getHeaders()
    const merged = isEmpty(own) ? direct : mergeOwn(own, direct)
    reply.hijack()
    const { raw } = reply
    writeHead(raw, status, reason, merged)
    raw.on('drain', drained)
    return {
      write: (chunk) => raw.write(chunk),
      end: () => { raw.end() },
      fail: () => { breakOff(raw) }
    }
  }
  setHead(reply, status, fields)
  const stream = new Readable({ read: drained })
  // Without a listener an error before Fastify listens would end the process.
  stream.on('error', () => {})
  reply.send(stream)
  return {
    write: (chunk) => stream.push(chunk),
    end: () => { stream.push(null) },
    fail: (error) => {
      if (reply.raw.headersSent) breakOff(reply.raw)
      else withdraw(reply, fields)
      stream.destroy(error)
    }
  }
}
