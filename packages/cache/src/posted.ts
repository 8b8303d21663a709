import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { commit } from './commit.ts'
import type { Engine } from './engine.ts'
import { type Entry, makeEntry } from './entry.ts'
import { carriesUnkeyed } from './poison.ts'
import type { Route } from './route.ts'
import { placed } from './ruled.ts'
import { governing } from './semantics/cache-control.ts'
import { single } from './semantics/fields.ts'
import { lifetime } from './semantics/freshness.ts'
import { sameOrigin } from './semantics/invalidation.ts'
import type { EntryWriter } from './store/contract.ts'
import { replaces } from './variants.ts'
import { locate } from './where.ts'

const NO_HEURISTIC = { fraction: 0, max: 0 }

/**
 * A POST's response that says it is what a GET of the same URI would give: Content-Location equal to the target, and explicit freshness (RFC
 * 9110 9.3.3). Not when that was purged after the `purges` known when it was asked for.
 */
export function postedEntry (
  engine: Engine, request: FastifyRequest, origin: string, route: Route, fields: readonly string[], requestTime: number, purges: number
): Entry | undefined {
  const location = single(fields, 'content-location')
  if (location === undefined) return undefined
  const { storage, statuses } = route.settings
  if (statuses?.has(200) === false || !route.settings.bodyless) return undefined
  if (origin === '' || carriesUnkeyed(request, route.settings.key.headers)) return undefined
  const where = locate(request, origin, route.settings, engine.rules, '')
  if (sameOrigin(where.origin + request.raw.url!, location) !== where.origin + request.raw.url!) return undefined
  const responseTime = engine.clock.now()
  if (lifetime(200, fields, governing(fields, storage.targets), responseTime, NO_HEURISTIC).ms <= 0) return undefined
  const entry = makeEntry({
    key: where.key, url: where.url, origin: where.origin, status: 200, reason: '', fields, requestHeaders: request.headers, requestTime, responseTime
  }, storage, engine.idOf)
  if (typeof entry === 'string') return undefined
  Object.assign(entry, placed(request, where, route.settings.key, engine.rules, 200, fields))
  return engine.invalidator.recent.concern(entry, purges) ? undefined : entry
}

/** Stores it for later GETs while it is sent, unless it is purged before all of it was. */
export function storePosted (engine: Engine, reply: FastifyReply, entry: Entry, fields: readonly string[]): void {
  const { store, invalidator: { recent } } = engine
  const purges = recent.now
  const length = single(fields, 'content-length')
  const expected = length !== undefined && /^\d+$/.test(length) ? Number(length) : -1
  const writer = store.create(entry, expected)
  if (writer === undefined) return
  capture(reply.raw, writer, expected, () => {
    const found = store.get(entry.key)
    const finish = (others: readonly Entry[]): void => {
      void commit(store, writer, entry, others.filter((other) => replaces(entry, other)), () => !recent.concern(entry, purges))
    }
    if (found instanceof Promise) void found.then(finish)
    else finish(found)
  })
}

/** Copies a body to a writer as it is sent; `whole` when all of it was. Backpressure is the client's. */
function capture (raw: ServerResponse, writer: EntryWriter, expected: number, whole: () => void): void {
  const { write, end } = raw
  let size = 0
  let ended = false
  const take = (chunk: unknown, encoding: unknown): void => {
    if (chunk === undefined || chunk === null || typeof chunk === 'function' || ended) return
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding as BufferEncoding : 'utf8') : Buffer.from(chunk as Uint8Array)
    size += bytes.length
    writer.write(bytes)
  }
  raw.write = function (this: ServerResponse, ...args: unknown[]): boolean {
    take(args[0], args[1])
    return (write as (...args: unknown[]) => boolean).apply(raw, args)
  } as typeof raw.write
  raw.end = function (this: ServerResponse, ...args: unknown[]): ServerResponse {
    raw.write = write
    raw.end = end
    take(args[0], args[1])
    if (!ended) {
      ended = true
      if (expected === -1 || expected === size) whole()
      else writer.abort()
    }
    return (end as (...args: unknown[]) => ServerResponse).apply(raw, args)
  } as typeof raw.end
  raw.on('close', () => {
    if (ended) return
    ended = true
    writer.abort()
  })
}
