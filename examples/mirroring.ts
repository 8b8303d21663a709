// A new version is tried with copies of real requests: clients get the old one's answers, and what differs is told.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { current: string[]; next: string[] }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, {
    pools: { current: options.current, next: options.next },
    routes: [{
      prefix: '/',
      pool: 'current',
      // A tenth of the requests would be enough where there are many.
      mirror: { pool: 'next', share: 1, maxInFlight: 50, timeout: 5000, compare: { ignore: ['/requestId', '/**/updatedAt'] } }
    }]
  })

  const differences: string[] = []
  app.balancer.pool('next').on('compared', ({ method, path, result, differences: list }) => {
    if (result !== 'different') return
    for (const { part, at, change } of list) differences.push(`${method} ${path}: ${part} ${at} ${change}`.replace('  ', ' '))
  })
  // Look at it before the weights of a split move clients to the new version. An app of your own would ask who wants to know.
  app.get('/-/shadow', () => ({ counts: app.balancer.mirrors[0]!.counts, differences }))
  return app
}
