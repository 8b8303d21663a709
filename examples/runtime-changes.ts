// Upstreams that come, go and change weight while requests run. Protect such routes: here nobody but the machine itself may.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[] }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, {
    pools: { web: { upstreams: options.upstreams, policy: 'weighted-round-robin', slowStart: 0 } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  const pool = app.balancer.pool('web')
  const show = () => pool.upstreams.map(({ id, url, configuredWeight, ready }) => ({ id, url, weight: configuredWeight, ready }))

  await app.register(async (admin) => {
    admin.addHook('onRequest', async (request, reply) => {
      if (request.ip !== '127.0.0.1') return reply.code(403).send()
    })
    admin.get('/', show)
    admin.post<{ Body: { url: string; weight?: number } }>('/', (request) => {
      pool.add(request.body)
      return show()
    })
    admin.put<{ Params: { id: string }; Body: { weight: number } }>('/:id/weight', (request) => {
      pool.setWeight(request.params.id, request.body.weight)
      return show()
    })
    // Answers when the upstream has finished its work.
    admin.delete<{ Params: { id: string } }>('/:id', async (request) => {
      await pool.remove(request.params.id)
      return show()
    })
  }, { prefix: '/upstreams' })
  return app
}
