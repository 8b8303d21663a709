// Upstreams come from a file that a deployment tool replaces; the one that is configured stands in while there are none.
import balancer from '@headgate/balancer'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { file: string; standby: string }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(balancer, {
    pools: {
      web: {
        upstreams: [{ url: options.standby, backup: true }],
        // DNS: { type: 'dns', name: '_http._tcp.web.example' }; Kubernetes: { type: 'kubernetes', service: 'web' }; and more in docs/discovery.md.
        discovery: { type: 'file', path: options.file, interval: 1000 }
      }
    },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  app.balancer.pool('web').on('discovery', ({ result, members }) => { app.log.info(`${result}: ${members} upstreams`) })
  return app
}
