// A route behind a cache that may hold `entries` responses, and what it costs: node million.mjs '{"entries":N}'; prints its port.
import { createRequire } from 'node:module'
import { PerformanceObserver, monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import cache from '../../packages/cache/dist/index.js'

const fastify = createRequire(import.meta.url)('fastify')
const { entries } = JSON.parse(process.argv[2])
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
const BODY = Buffer.alloc(128, 'abcdefgh')
const delay = monitorEventLoopDelay({ resolution: 1 })
let pause = 0
new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) pause = Math.max(pause, duration) }).observe({ entryTypes: ['gc'] })

const app = fastify({ keepAliveTimeout: 600_000 })
await app.register(cache, { memory: { maxBytes: 4 * 2 ** 30, maxEntries: entries } })
app.get('/item/:n', (request, reply) => reply.header('cache-control', 'public, max-age=36000').header('etag', `"${request.params.n}"`).type('application/json').send(BODY))
/** Starts to watch the event loop. */
app.get('/watch', { config: { cache: false } }, async () => {
  delay.reset()
  delay.enable()
  pause = 0
  return ''
})
app.get('/state', { config: { cache: false } }, async ({ query }) => {
  if (query.gc !== undefined) for (let i = 0; i < 3; i++) gc()
  const { heapUsed, heapTotal, external, rss } = process.memoryUsage()
  return { ...app.cache.stats, heapUsed, heapTotal, external, rss, delay: delay.max / 1e6, pause }
})
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(app.server.address().port)
process.on('SIGTERM', () => { process.exit() })
