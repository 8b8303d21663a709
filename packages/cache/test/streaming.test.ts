import { mkdtempSync, rmSync } from 'node:fs'
import { get, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import balancer from '@headgate/balancer'
import t from 'tap'
import { DiskStore } from '../src/index.ts'
import { app, eventually, origin, proxied } from './helpers.ts'

const MIB = 1024 * 1024
const PATTERN = Buffer.alloc(MIB, 'abcdefgh')
const PIECE = PATTERN.subarray(0, MIB / 4)

/** Sends so many bytes as fast as they are taken. */
function pour (response: ServerResponse, bytes: number): void {
  let left = bytes
  const more = (): void => {
    while (left > 0) {
      left -= PIECE.length
      if (!response.write(PIECE)) {
        response.once('drain', more)
        return
      }
    }
    response.end()
  }
  more()
}

/** Reads a body; how many bytes it had, and the most memory outside of V8's heap meanwhile, over what there was before. */
function drain (url: string): Promise<{ bytes: number; peak: number; status: string }> {
  return new Promise((resolve, reject) => {
    const before = process.memoryUsage().arrayBuffers
    get(url, (response) => {
      let [bytes, peak, next] = [0, 0, 0]
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes < next) return
        next += 4 * MIB
        peak = Math.max(peak, process.memoryUsage().arrayBuffers - before)
      })
      response.on('end', () => { resolve({ bytes, peak, status: String(response.headers['cache-status']) }) }).on('error', reject)
    }).on('error', reject)
  })
}

/** What V8 has not collected yet is in it, too; a body that was kept whole would be far above. */
const BOUND = 160 * MIB

t.test('a gigabyte that is not stored passes through in little memory', { timeout: 200_000 }, async (t) => {
  for (const [length, detail] of [[1024 * MIB, 'size'], [undefined, '']] as const) {
    const { app, proxy } = await proxied(t, {}, (_request, response) => {
      response.setHeader('cache-control', 'max-age=60')
      if (length !== undefined) response.setHeader('content-length', length)
      pour(response, length ?? 192 * MIB)
    })
    const { bytes, peak, status } = await drain(`${proxy}/big`)
    t.equal(bytes, length ?? 192 * MIB)
    t.ok(peak < BOUND, `${Math.round(peak / MIB)} MiB`)
    if (detail !== '') t.match(status, /detail=size/)
    t.equal(app.cache.stats.entries, 0)
  }
})

t.test('one that is stored is written as it comes, and read back in pieces', { timeout: 200_000 }, async (t) => {
  const size = 224 * MIB
  const path = mkdtempSync(join(tmpdir(), 'headgate-stream-'))
  t.teardown(() => { rmSync(path, { recursive: true, force: true }) })
  const { app, proxy, requests } = await proxied(t, { store: new DiskStore({ path }) }, (_request, response) => {
    response.setHeader('cache-control', 'max-age=60').setHeader('content-length', size)
    pour(response, size)
  })
  const first = await drain(`${proxy}/big`)
  t.equal(first.bytes, size)
  t.match(first.status, /stored/)
  t.ok(first.peak < BOUND, `${Math.round(first.peak / MIB)} MiB`)
  await eventually(() => app.cache.stats.entries === 1)
  const hit = await drain(`${proxy}/big`)
  t.equal(hit.bytes, size)
  t.match(hit.status, /; hit/)
  t.ok(hit.peak < BOUND, `${Math.round(hit.peak / MIB)} MiB`)
  t.equal(requests.length, 1)
})

t.test('a client that takes nothing does not hold back those who share its fetch, and gets the rest from the store', { timeout: 100_000 }, async (t) => {
  const size = 16 * MIB
  const path = mkdtempSync(join(tmpdir(), 'headgate-stalled-'))
  t.teardown(() => { rmSync(path, { recursive: true, force: true }) })
  let begin: (() => void) | undefined
  const { app, proxy, requests } = await proxied(t, { store: new DiskStore({ path }) }, (_request, response) => {
    response.setHeader('cache-control', 'max-age=60').setHeader('content-length', size)
    begin = () => { pour(response, size) }
  })
  const ask = (): Promise<IncomingMessage> => new Promise((resolve, reject) => {
    get(`${proxy}/big`, resolve).on('error', reject)
  })
  let asked = 0
  app.server.on('request', () => { asked++ })
  // One is stalled until the others have all, one for ever.
  const all = [ask(), ask(), drain(`${proxy}/big`)] as const
  await eventually(() => begin !== undefined && asked === 3)
  begin!()
  const [stalled, gone, quick] = await Promise.all(all)
  t.equal(quick.bytes, size)
  t.equal(requests.length, 1)
  await eventually(() => app.cache.stats.stored === 1)
  gone.on('error', () => {}).destroy()
  let bytes = 0
  let right = true
  for await (const chunk of stalled as AsyncIterable<Buffer>) {
    right &&= chunk.equals(PATTERN.subarray(bytes % 8, bytes % 8 + chunk.length))
    bytes += chunk.length
  }
  t.equal(bytes, size)
  t.ok(right, 'each byte in its place')
  t.equal(requests.length, 1)
})

t.test('through onSend, a response that breaks off before any of it was sent is a 502 without its fields', async (t) => {
  const upstream = await origin(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain', 'cache-control': 'max-age=60', etag: '"1"' }).flushHeaders()
    setImmediate(() => { response.destroy() })
  })
  const { url } = await app(t, {}, async (app) => {
    app.addHook('onSend', async (_request, _reply, payload) => payload)
    await app.register(balancer, { pools: { web: [upstream.url] }, routes: [{ prefix: '/', pool: 'web' }] })
  })
  const response = await fetch(url)
  t.equal(response.status, 502)
  t.match(await response.json(), { code: 'HG_CACHE_BROKEN_OFF' })
  t.same(['cache-control', 'etag'].map((name) => response.headers.get(name)), [null, null])
})
