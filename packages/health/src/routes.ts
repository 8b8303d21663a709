import type { FastifyInstance, FastifyReply } from 'fastify'
import type { AppHealth } from './app-health.ts'
import type { HealthSettings, Route } from './options.ts'

/** The routes that were asked for, in a scope of their own. */
export function addRoutes (app: FastifyInstance, health: AppHealth, routes: HealthSettings['routes']): void {
  const add = (route: Route | undefined, answer: (reply: FastifyReply) => unknown): void => {
    if (route === undefined) return
    app.route({
      ...route.hooks,
      method: 'GET',
      url: route.path,
      handler: (_request, reply) => {
        // What a cache remembers of this is wrong when it matters.
        reply.header('cache-control', 'no-store')
        return answer(reply)
      }
    })
  }
  add(routes.upstreams, () => health.snapshot())
  add(routes.ready, (reply) => {
    const { ready, closing } = health
    reply.code(ready ? 200 : 503)
    return { status: ready ? 'ready' : closing ? 'closing' : 'no upstream is ready', pools: health.requiredPools() }
  })
  add(routes.live, () => ({ status: 'live' }))
}
