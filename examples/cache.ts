// A cache before forwarded routes and a handler of the app's own, after their authentication; purged by tag.
import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[]; secret: string }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(cache, {
    memory: { maxBytes: 128 * 1024 * 1024 },
    staleIfError: 3_600_000,
    key: { dropQuery: true },
    purge: {
      guard: async (request, reply) => {
        if (request.headers.authorization !== `Bearer ${options.secret}`) return reply.code(401).send({ message: 'not you' })
      }
    }
  })
  await app.register(balancer, {
    pools: { web: options.upstreams },
    routes: [{ prefix: '/', pool: 'web' }]
  })

  // The origin says nothing about how long: this route does. Who is signed in gets an answer of their own.
  app.get('/prices', { config: { cache: { ttl: 10_000, privateCookies: ['session'], staleWhileRevalidate: 60_000 } } }, async (_request, reply) => {
    reply.header('cache-tag', 'prices')
    return { at: new Date().toISOString() }
  })
  app.get('/account', { config: { cache: false } }, async () => ({ balance: 42 }))
  return app
}
