import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { hitStatus } from './cache-status.ts'
import { channels } from './channels.ts'
import { type Compressor, encodedFor } from './encoded.ts'
import { ageOf, type Entry } from './entry.ts'
import { type HitHead, renewed } from './hit-head.ts'
import { openOutput, sendComplete } from './output.ts'
import { piecewise } from './piecewise.ts'
import { type Prepared, prepared } from './prepared.ts'
import { answerRange } from './ranged.ts'
import { hasOnSend } from './route-context.ts'
import { rangeOf } from './semantics/as-get.ts'
import { without } from './semantics/fields.ts'
import { ifRangeHolds, notModified } from './semantics/validators.ts'
import type { CacheStore, MaybePromise } from './store/contract.ts'

/** What a 304 does not repeat: it describes a body that does not come (RFC 9110 15.4.5). */
const OF_BODY = new Set(['content-length', 'content-type', 'content-encoding', 'content-language', 'content-range'])

/**
 * Fields of a stored response for a hit: its own, Content-Length, Age and Cache-Status. Kept for a second from its second hit on: what is kept
 * for many responses that are hit once in a while costs more than it saves.
 */
export function hitHead (entry: Entry, now: number, name: string): HitHead {
  const second = Math.floor(ageOf(entry, now) / 1000)
  if (entry.head?.second === second) return entry.head
  const fields = head(entry, second, hitStatus(name, entry, now))
  if (entry.hitAt === second) return entry.head = renewed(entry.head, second, fields)
  entry.hitAt = second
  return { second, whole: prepared(fields), bodyless: undefined }
}

function head (entry: Entry, age: number, status: string): string[] {
  const flat = entry.fields.slice()
  if (entry.status !== 204) flat.push('Content-Length', String(entry.size))
  flat.push('Age', String(age), 'Cache-Status', status)
  return flat
}

export interface Answer {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly entry: Entry
  readonly now: number
  /** Our name in Cache-Status. */
  readonly name: string
  /** Our Cache-Status where it is no plain hit. */
  readonly status: string | undefined
  readonly store: CacheStore
  readonly compressor: Compressor | undefined
  /** The body is gone: the request has to be answered otherwise. */
  readonly lost: () => void
}

/** Answers with a stored response, or the part of it that was asked for (RFC 9111 4, RFC 9110 13 and 14). */
export function serveEntry (answer: Answer): void {
  const { request, reply, entry, now, name, status, store, compressor } = answer
  const { headers, method } = request
  const hit = status === undefined ? hitHead(entry, now, name) : undefined
  const flat = hit?.whole.fields ?? head(entry, Math.floor(ageOf(entry, now) / 1000), status!)
  const fast = !hasOnSend(request)
  // Conditions hold for what would be 200; 206 is one by other means (RFC 9110 13.2.1).
  if ((headers['if-none-match'] !== undefined || headers['if-modified-since'] !== undefined) &&
    (entry.status === 200 || entry.part !== undefined) && notModified(headers, entry, now)) {
    if (hit === undefined) return sendComplete(reply, 304, '', without(flat, OF_BODY), undefined, fast)
    hit.bodyless ??= prepared(without(flat, OF_BODY))
    return sendComplete(reply, 304, '', hit.bodyless.fields, undefined, fast, hit.bodyless)
  }
  // Through the hooks it takes the body along, which is not sent: Fastify's own HEAD routes take the length from it.
  if (method === 'HEAD') return sendComplete(reply, entry.status, entry.reason, flat, fast ? undefined : entry.body, fast)
  const range = rangeOf(request)
  if (range !== undefined && (entry.status === 200 || entry.part !== undefined) && ifRangeHolds(headers['if-range'] as string | undefined, entry, now)) {
    const ranged = answerRange(entry, range, flat)
    if (ranged !== undefined) {
      if (ranged.body !== undefined || ranged.start > ranged.end) return sendBody(answer, ranged.status, '', ranged.fields, ranged.body, fast)
      const { pieces, start, end } = ranged
      const body = pieces === undefined ? store.read(entry, start, end) : piecewise(store, entry, pieces)
      return sendStored(answer, ranged.status, '', ranged.fields, end - start + 1, body, fast)
    }
  }
  const encoded = compressor === undefined ? undefined : encodedFor(request, entry, flat, hit?.second ?? -1, compressor, store)
  if (encoded !== undefined) return sendBody(answer, entry.status, entry.reason, encoded.fields, encoded.body, fast, encoded.ready)
  if (entry.body !== undefined || entry.size === 0) return sendBody(answer, entry.status, entry.reason, flat, entry.body, fast, hit?.whole)
  sendStored(answer, entry.status, entry.reason, flat, entry.size, store.read(entry, 0, entry.size - 1), fast)
}

function sendBody (
  { reply, entry }: Answer, status: number, reason: string, fields: readonly string[], body: Buffer | undefined, fast: boolean, ready?: Prepared
): void {
  if (channels.serve.hasSubscribers) channels.serve.publish({ key: entry.key, size: body?.length ?? 0 })
  sendComplete(reply, status, reason, fields, body, fast, ready)
}

/** Sends so many bytes that the store does not hold in memory. */
function sendStored (
  answer: Answer, status: number, reason: string, fields: readonly string[], length: number, body: MaybePromise<Buffer | Readable | undefined>, fast: boolean
): void {
  const { reply, entry, lost } = answer
  const send = (body: Buffer | Readable | undefined): void => {
    if (body === undefined) return lost()
    if (Buffer.isBuffer(body)) return sendBody(answer, status, reason, fields, body, fast)
    if (reply.raw.destroyed) {
      body.destroy()
      return
    }
    const output = openOutput(reply, status, reason, fields, fast, () => { body.resume() })
    let left = length
    if (channels.serve.hasSubscribers) channels.serve.publish({ key: entry.key, size: left })
    body.on('data', (chunk: Buffer) => {
      left -= chunk.length
      if (!output.write(chunk)) body.pause()
    })
    // A file may have become shorter; the client must see that, too.
    body.on('end', () => { if (left === 0) output.end(); else output.fail(new Error('the stored body is not whole')) })
    body.on('error', (error) => { output.fail(error) })
    reply.raw.on('close', () => { body.destroy() })
  }
  if (body instanceof Promise) body.then(send, lost)
  else send(body)
}
