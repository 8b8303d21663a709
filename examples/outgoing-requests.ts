// What the app asks of other services itself goes through pools too: balanced, repeated where that is safe, their health observed.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'
import { fetch } from 'undici'

export async function build (options: { users: string[]; orders: string[] }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, { pools: { users: options.users, orders: options.orders } })

  const users = app.balancer.dispatcher('users')
  const orders = app.balancer.dispatcher('orders', { headersTimeout: 2000 })

  app.get<{ Params: { id: string } }>('/overview/:id', async ({ params }) => {
    const id = encodeURIComponent(params.id)
    const [user, list] = await Promise.all([
      // The pool is the dispatcher's; the host is only a name.
      fetch(`http://users/users/${id}`, { dispatcher: users }),
      fetch(`http://orders/orders?user=${id}`, { dispatcher: orders })
    ])
    return { user: await user.json(), orders: await list.json() }
  })
  return app
}
