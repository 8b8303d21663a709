// Requests under / shared between the upstreams of one pool.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[] }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, {
    pools: { web: options.upstreams },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  return app
}
