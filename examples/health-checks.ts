// Upstreams are checked and their answers judged; operators may take one out by hand; Kubernetes asks whether the app is ready.
import balancer from '@headgate/balancer'
import health from '@headgate/health'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[]; database: () => Promise<boolean> }): Promise<FastifyInstance> {
  const app = fastify()
  const local = { onRequest: async (request: { ip: string }) => { if (request.ip !== '127.0.0.1') throw Object.assign(new Error('not from there'), { statusCode: 403 }) } }

  // A member of this process, with a check of its own kind.
  const reports = fastify()
  reports.get('/reports', () => ({ reports: [] }))

  await app.register(balancer, {
    pools: { web: options.upstreams, reports: [{ app: reports, id: 'reports' }] },
    routes: [{ prefix: '/reports', pool: 'reports', rewritePrefix: '/reports' }, { prefix: '/', pool: 'web' }]
  })
  await app.register(health, {
    // Nobody gets a request before the first passed check, and the app does not listen before that.
    check: { path: '/healthz', body: (json) => (json as { status: string }).status === 'up', interval: 1000, initial: 'wait' },
    pools: { reports: { check: options.database } },
    required: ['web'],
    routes: { ready: true, live: true, upstreams: { path: '/health/upstreams', ...local } }
  })

  app.put<{ Params: { id: string }; Body: { state: 'up' | 'drain' | 'maintenance' | null } }>('/health/upstreams/:id', local, ({ params, body }) => {
    app.health.force('web', params.id, body.state ?? undefined, 'by hand')
    return app.health.snapshot().pools['web']
  })
  app.addHook('onClose', () => reports.close())
  return app
}
