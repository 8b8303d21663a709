// A Fastify app of the same process as a backup: it answers without a socket when the real upstreams are all away.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[] }): Promise<FastifyInstance> {
  const sorry = fastify()
  sorry.all('/*', (_, reply) => reply.header('retry-after', '30').send({ message: 'We are back in a minute' }))

  const app = fastify()
  await app.register(balancer, {
    pools: { web: [...options.upstreams, { app: sorry, id: 'sorry', backup: true }] },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  app.addHook('onClose', () => sorry.close())
  return app
}
