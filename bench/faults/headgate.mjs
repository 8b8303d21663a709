// Headgate with its defaults, but for the time-outs: node headgate.mjs '{"ports":[…],"timeout":400}'. Prints its port.
import balancer from '@headgate/balancer'
import fastify from 'fastify'

const { ports, timeout } = JSON.parse(process.argv[2])
const app = fastify()
await app.register(balancer, {
  pools: { web: { upstreams: ports.map((port) => `http://127.0.0.1:${port}`), connection: { connectTimeout: timeout } } },
  routes: [{ prefix: '/', pool: 'web', headersTimeout: timeout, idleTimeout: timeout }]
})
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(app.server.address().port)
