// Your own authentication in front of a pool, and the upstream in your own log line: forwarded routes are Fastify routes.
import balancer from '@headgate/balancer'
import jwt from '@fastify/jwt'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[]; secret: string; log: (line: object) => void }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(jwt, { secret: options.secret })
  await app.register(balancer, { pools: { api: options.upstreams } })

  app.addHook('onResponse', async (request, reply) => {
    options.log({ url: request.url, status: reply.statusCode, upstream: request.upstream?.id, ms: Math.round(reply.elapsedTime) })
  })

  app.get('/login', () => ({ token: app.jwt.sign({ user: 'ada' }) }))
  app.get('/private/*', { onRequest: (request) => request.jwtVerify() }, (_, reply) => reply.forward('api'))
  return app
}
