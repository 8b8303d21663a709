// One proxy for several services: by prefix, with another prefix upstream, and a few per cent of the pages from a new release.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { web: string[]; canary: string[]; api: string[] }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, {
    pools: {
      web: options.web,
      canary: options.canary,
      api: { upstreams: options.api, policy: 'least-connections', connection: { connectTimeout: 500 } }
    },
    routes: [
      { prefix: '/api', pool: 'api', rewritePrefix: '/v1', headersTimeout: 5000 },
      {
        prefix: '/',
        rules: [
          { match: { header: { 'x-release': 'next' } }, pool: 'canary', fallback: ['web'] },
          { pool: { web: 95, canary: 5 } }
        ]
      }
    ]
  })
  return app
}
