// A route behind a cache that is full of `entries` responses, and what it costs: node million.mjs '{"entries":N}'; prints its port.
import { createRequire } from 'node:module'
import { PerformanceObserver, monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import cache, { MemoryStore } from '../../packages/cache/dist/index.js'

const fastify = createRequire(import.meta.url)('fastify')
const { entries } = JSON.parse(process.argv[2])
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
const BODY = Buffer.alloc(128, 'abcdefgh')
const delay = monitorEventLoopDelay({ resolution: 1 })
/** The longest of each since `/watch`, in ms: a pause for garbage collection, and a store's putting away of a response with the evictions that it causes. */
let [pause, step] = [0, 0]
new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) pause = Math.max(pause, duration) }).observe({ entryTypes: ['gc'] })

const store = new MemoryStore({ maxBytes: 4 * 2 ** 30, maxEntries: entries })
const create = store.create.bind(store)
store.create = (entry, size) => {
  const writer = create(entry, size)
  const commit = writer.commit.bind(writer)
  writer.commit = (replaces) => {
    const start = performance.now()
    const stored = commit(replaces)
    step = Math.max(step, performance.now() - start)
    return stored
  }
  return writer
}
const app = fastify({ keepAliveTimeout: 600_000 })
await app.register(cache, { store })
app.get('/item/:n', (request, reply) => reply.header('cache-control', 'public, max-age=36000').header('etag', `"${request.params.n}"`).type('application/json').send(BODY))
/** Puts into the store what a request for each would have: the first, which was asked for, again under the paths of the others. */
app.get('/fill', { config: { cache: false } }, async (request) => {
  const [first] = store.get(`http://${request.host}/item/0`)
  for (let i = 1; i < entries; i++) {
    const url = first.url.replace(/0$/, i)
    const etag = `"${i}"`
    const entry = { ...first, key: url, url, id: `${first.id}-${i}`, fields: first.fields.map((text) => text === first.etag ? etag : text), etag, body: undefined, size: -1, head: undefined, hitAt: undefined }
    const writer = store.create(entry, BODY.length)
    writer.write(BODY)
    if (!writer.commit([])) throw new Error(`${url} is not stored`)
  }
  return ''
})
/**
 * ns that it takes to read memory as a hit of a random entry has to, with nothing else done: a number of a table, a row of another, a record line by line,
 * a row of a third one. Where each of them is depends on what was read before.
 */
app.get('/touch', { config: { cache: false } }, async () => {
  const [LINE, SEGMENT, TIMES] = [64, 2 ** 20, 500_000]
  const record = Math.ceil(store.stats.bytes / entries / LINE) * LINE
  const pages = (bytes) => Array.from({ length: Math.ceil(entries * bytes / SEGMENT) }, () => new Int32Array(SEGMENT / 4).fill(0))
  const [table, rows, uses, records] = [4, 32, 12, record].map(pages)
  const read = (list, bytes, n) => list[Math.floor(n * bytes / SEGMENT)][n * bytes % SEGMENT >>> 2]
  let seed = 1
  let least = Infinity
  for (let round = 0; round < 5; round++) {
    const start = performance.now()
    for (let i = 0; i < TIMES; i++) {
      seed = Math.imul(seed, 1664525) + 1013904223 | 0
      let n = Math.floor((seed >>> 0) / 2 ** 32 * (entries - 1))
      n += read(table, 4, n)
      n += read(rows, 32, n)
      const [list, at] = [records[Math.floor(n * record / SEGMENT)], n * record % SEGMENT >>> 2]
      for (let line = 0; line < record >>> 2; line += LINE >>> 2) n += list[at + line] ?? 0
      seed += read(uses, 12, n)
    }
    least = Math.min(least, performance.now() - start)
  }
  return { ns: least * 1e6 / TIMES }
})
/** Starts to watch the event loop. */
app.get('/watch', { config: { cache: false } }, async () => {
  delay.reset()
  delay.enable()
  pause = step = 0
  return ''
})
app.get('/state', { config: { cache: false } }, async ({ query }) => {
  if (query.gc !== undefined) for (let i = 0; i < 3; i++) gc()
  const { heapUsed, heapTotal, external, rss } = process.memoryUsage()
  return { ...app.cache.stats, ...store.stats, heapUsed, heapTotal, external, rss, delay: delay.max / 1e6, pause, step }
})
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(app.server.address().port)
process.on('SIGTERM', () => { process.exit() })
