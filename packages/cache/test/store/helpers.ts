import { makeEntry, type Entry } from '../../src/entry.ts'
import { entryIds } from '../../src/entry-ids.ts'
import type { CacheStore } from '../../src/index.ts'

const idOf = entryIds(() => 0.5)
let now = Date.parse('2026-01-01T00:00:00Z')

export function entry (key: string, fields: Record<string, string> = {}, requestHeaders: Record<string, string> = {}): Entry {
  now += 1000
  const made = makeEntry({
    key, url: key.split(' ')[0]!, origin: 'http://a.example', status: 200, reason: 'OK', fields: Object.entries({ 'cache-control': 'max-age=60', etag: '"a"', ...fields }).flat(),
    requestHeaders, requestTime: now, responseTime: now
  }, { targets: [], heuristic: { fraction: 0, max: 0 }, setCookie: 'store', ttl: () => undefined, ttlOverrides: false, staleWhileRevalidate: 0 }, idOf)
  if (typeof made === 'string') throw new Error(made)
  return made
}

/** Stores a body in two pieces; the entry as the store has it. */
export async function put (store: CacheStore, one: Entry, body: string | Buffer, replaces: readonly Entry[] = []): Promise<Entry | undefined> {
  const bytes = Buffer.from(body)
  const writer = store.create(one, bytes.length)
  if (writer === undefined) return undefined
  writer.write(bytes.subarray(0, bytes.length >> 1))
  writer.write(bytes.subarray(bytes.length >> 1))
  return await writer.commit(replaces) ? one : undefined
}

export async function bodyOf (store: CacheStore, one: Entry, start = 0, end: number = one.size - 1): Promise<string | undefined> {
  if (one.body !== undefined) return one.body.subarray(start, end + 1).toString()
  const found = await store.read(one, start, end)
  if (found === undefined || Buffer.isBuffer(found)) return found?.toString()
  const chunks: Buffer[] = []
  for await (const chunk of found) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
