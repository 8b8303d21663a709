// The proxy of the soak run: node proxy.mjs PORT... Prints its port; GET /-/figures tells what it holds.
import balancer from '@headgate/balancer'
import fastify from 'fastify'
import { readdirSync } from 'node:fs'

const app = fastify()
await app.register(balancer, {
  pools: { web: { upstreams: process.argv.slice(2).map((port) => `http://127.0.0.1:${port}`) } },
  routes: [{ prefix: '/', pool: 'web', headersTimeout: 5000 }]
})
app.get('/-/figures', () => {
  globalThis.gc?.()
  const pool = app.balancer.pool('web')
  return { inFlight: pool.inFlight, queued: pool.queued, descriptors: readdirSync('/proc/self/fd').length, ...process.memoryUsage() }
})
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(app.server.address().port)
