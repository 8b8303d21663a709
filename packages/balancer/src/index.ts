import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { type Affinity, Deadlines, Pool, type PoolOptions, UnknownPoolError, type Upstream, systemClock } from '@headgate/core'
import { closeInTime } from './closing.ts'
import { listenForExpectations } from './expect-continue.ts'
import { forwardTo } from './forward.ts'
import { checkBalancer, refuseRoute, routeSettings } from './options.ts'
import type { BalancerOptions, ForwardOptions, RouteOptions, RouteSettings } from './options.ts'
import { useProblems } from './problem.ts'
import { addRoute, compileChooser } from './routes.ts'
import { listenForUpgrades } from './upgrade.ts'

export * from './errors.ts'
export type * from './options.ts'
export { balancerSchema } from './options.ts'
export { bodies } from './bodies.ts'
export { clientErrors } from './client-errors.ts'
export { sendProblem } from './problem.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The pools, while the app runs. */
    balancer: Balancer
  }
  interface FastifyRequest {
    /** Who answered, or was tried last; `null` before the first pick. */
    upstream: Upstream | null
    /** Whom the client belongs to, set by a session-affinity plugin before the handler; the pool decides whether it is followed. */
    affinity: Affinity | undefined
  }
  interface FastifyContextConfig {
    /** Options of `reply.forward` for this route. */
    forward?: ForwardOptions
  }
  interface FastifyReply {
    /** Forwards the request to a pool and answers with what comes back. Call it last in a handler and return it. */
    forward (pool: string, options?: ForwardOptions): FastifyReply
  }
}

/** The pools of an app. */
export class Balancer {
  readonly pools: Map<string, Pool> = new Map()
  /** The routes of the balancer's options, in their order. */
  readonly routes: RouteOptions[] = []

  /** Throws `HG_POOL_UNKNOWN`. */
  pool (name: string): Pool {
    const pool = this.pools.get(name)
    if (pool === undefined) throw new UnknownPoolError(name, [...this.pools.keys()].join(', '))
    return pool
  }
}

const plugin: FastifyPluginAsync<BalancerOptions> = async (app: FastifyInstance, options) => {
  checkBalancer(options)
  const environment = { clock: options.clock ?? systemClock, random: options.random ?? Math.random }
  const deadlines = new Deadlines(environment.clock)
  const first = !app.hasDecorator('balancer')
  const balancer = first ? new Balancer() : app.balancer
  const viaName = options.viaName ?? `headgate-${randomBytes(4).toString('hex')}`
  const own: Pool[] = []
  for (const [name, given] of Object.entries(options.pools)) {
    if (balancer.pools.has(name)) refuseRoute(`options.pools.${name}`, 'is already there; pool names are unique in an app', name)
    const poolOptions: PoolOptions = Array.isArray(given) ? { upstreams: given } : given as PoolOptions
    const pool = new Pool(name, poolOptions, `options.pools.${name}`, environment, deadlines)
    pool.on('state', (upstream, change) => {
      app.log[change.to === 'up' ? 'info' : 'warn']({ pool: name, upstream: upstream.url, ...change }, 'upstream changed its state')
    })
    pool.on('panic', (active) => { app.log.warn({ pool: name, active }, 'too few upstreams are left: ejections are overridden') })
    balancer.pools.set(name, pool)
    own.push(pool)
  }
  if (first) {
    app.decorate('balancer', balancer)
    app.decorateRequest('upstream', null)
    app.decorateRequest('affinity', undefined)
    const defaults = routeSettings('/', {}, viaName)
    const known = new WeakMap<ForwardOptions, RouteSettings>()
    app.decorateReply('forward', function forward (this: FastifyReply, name: string, forwardOptions?: ForwardOptions): FastifyReply {
      const pool = balancer.pool(name)
      const given = forwardOptions ?? (this.request.routeOptions.config as { readonly forward?: ForwardOptions }).forward
      let settings = given === undefined ? defaults : known.get(given)
      if (settings === undefined) {
        const prefix = this.request.routeOptions.url?.replace(/\/?\*$/, '') || '/'
        known.set(given!, settings = routeSettings(prefix, given!, viaName, 'reply.forward options'))
      }
      forwardTo(this.request, this, [pool], settings, deadlines)
      return this
    })
    app.addHook('onReady', async () => {
      listenForUpgrades(app)
      listenForExpectations(app)
    })
    closeInTime(app, () => balancer.pools.values(), options.closeTimeout ?? 30_000)
  }
  const prefixes = new Map<string, number>()
  for (const [index, route] of (options.routes ?? []).entries()) {
    const path = `options.routes[${index}]`
    const before = prefixes.get(route.prefix)
    if (before !== undefined) refuseRoute(`${path}.prefix`, `is already taken by options.routes[${before}]; use rules for several pools under one prefix`, route.prefix)
    prefixes.set(route.prefix, index)
    const settings = routeSettings(route.prefix, route, viaName)
    const choose = compileChooser(route, path, balancer.pools, environment.random)
    balancer.routes.push(route)
    await app.register(async (scope) => {
      useProblems(scope, app)
      addRoute(scope, route.prefix, route.config ?? {}, (request, reply) => { forwardTo(request, reply, choose(request), settings, deadlines) })
    })
  }
  app.addHook('onClose', async () => { await Promise.all(own.map((pool) => pool.close())) })
}

/** The plugin: `await app.register(balancer, { pools, routes })`. */
const balancer: FastifyPluginAsync<BalancerOptions> = fp(plugin, { name: '@headgate/balancer', fastify: '5.x' })
export default balancer
