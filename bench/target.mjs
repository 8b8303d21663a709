// One proxy by name in front of the backend's port; prints its own port.
import balancer from '@headgate/balancer'
import proxy from '@fastify/http-proxy'
import replyFrom from '@fastify/reply-from'
import Fastify from 'fastify'

const [name, port] = process.argv.slice(2)
const upstream = `http://127.0.0.1:${port}`
const app = Fastify()
if (name === 'headgate') await app.register(balancer, { pools: { web: [upstream] }, routes: [{ prefix: '/', pool: 'web' }] })
else if (name === 'http-proxy') await app.register(proxy, { upstream })
else {
  await app.register(replyFrom, { base: upstream })
  app.get('/*', (request, reply) => reply.from(request.url))
}
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(app.server.address().port)
