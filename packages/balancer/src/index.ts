import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import type { Dispatcher } from 'undici'
import { type Affinity, Deadlines, logDiscovery, Pool, type PoolOptions, UnknownPoolError, type Upstream, systemClock } from '@headgate/core'
import { clientLocator } from './client-location.ts'
import { closeInTime } from './closing.ts'
import { openDispatcher } from './dispatcher/dispatcher.ts'
import { type DispatcherOptions, checkDispatcher } from './dispatcher/options.ts'
import { type Decision, WAY, attemptsOf, decisionOf } from './decision.ts'
import { listenForExpectations } from './expect-continue.ts'
import { type ExplainedRoute, type ImaginedRequest, type RouteExplanation, explainRoute } from './explain.ts'
import { forwardTo, sendTo } from './forward.ts'
import { Gate, Maintenance } from './maintenance.ts'
import { Mirror, type MirrorMaker } from './mirror/mirror.ts'
import { checkBalancer, checkForward, routeSettings } from './options.ts'
import type { BalancerOptions, BalancerPoolOptions, ForwardOptions, MirrorOptions, PoolName, RouteOptions, RouteSettings } from './options.ts'
import { useProblems } from './problem.ts'
import { UnknownSplitError } from './errors.ts'
import { refuseRoute } from './refuse.ts'
import { addRoute } from './routes.ts'
import { compileChooser } from './routing/choose.ts'
import { compileLimits } from './routing/limits.ts'
import type { Split } from './routing/split.ts'
import { listenForUpgrades } from './upgrade.ts'

export * from './errors.ts'
export type { Decision, DecisionAttempt } from './decision.ts'
export type { ImaginedRequest, RouteExplanation } from './explain.ts'
export type { DispatcherOptions } from './dispatcher/options.ts'
export type * from './options.ts'
export { balancerOptions, balancerSchema } from './options.ts'
export { clientLocator, type ClientLocationOptions, type LocationHeaders } from './client-location.ts'
export { bodies } from './bodies.ts'
export { clientErrors } from './client-errors.ts'
export { offerConnects } from './extended-connect.ts'
export { http2Limits } from './http2-limits.ts'
export { sendProblem } from './problem.ts'
export type { Mirror, MirrorCounts } from './mirror/mirror.ts'
export type { Maintenance } from './maintenance.ts'
export type { Split, Weights } from './routing/split.ts'

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
    /** Attempts so far. */
    readonly attempts: number
    /** How it came that the request went where it went; `null` for requests that are not forwarded. */
    readonly decision: Decision | null
  }
  interface FastifyContextConfig {
    /** Options of `reply.forward` for this route. */
    forward?: ForwardOptions
  }
  interface FastifyReply {
    /** Forwards the request to a pool and answers with what comes back. Call it last in a handler and return it. */
    forward (pool: PoolName, options?: ForwardOptions): FastifyReply
  }
}

/** The pools of an app. */
export class Balancer {
  readonly pools: Map<string, Pool> = new Map()
  /** Prefixes that are forwarded, and the option that each comes from. */
  readonly prefixes: Map<string, string> = new Map()
  /** The routes of the balancer's options, in their order. */
  readonly routes: RouteOptions[] = []
  /** Rules that share requests among pools, by name: their weights can be changed. */
  readonly splits: Map<string, Split> = new Map()
  /** Closes routes and opens them. */
  readonly maintenance: Maintenance
  /** Copies of requests for shadow pools, in the order of configuration. */
  readonly mirrors: Mirror[] = []
  readonly #explained: ExplainedRoute[] = []
  readonly #dispatcher: (pool: Pool, options: DispatcherOptions) => Dispatcher

  /** `changed` hears of routes that are closed and opened; `dispatcher` makes a pool into one. */
  constructor (changed: (prefix: string, active: boolean) => void, dispatcher: (pool: Pool, options: DispatcherOptions) => Dispatcher) {
    this.maintenance = new Maintenance(changed)
    this.#dispatcher = dispatcher
  }

  /** Throws `HG_POOL_UNKNOWN`. */
  pool (name: PoolName): Pool {
    const pool = this.pools.get(name)
    if (pool === undefined) throw new UnknownPoolError(name, [...this.pools.keys()].join(', '))
    return pool
  }

  /**
   * A pool as a dispatcher of undici's, for whatever takes one: `fetch(url, { dispatcher })`, `undici.request`, `@fastify/reply-from`.
   * Requests go to the pool whatever the origin of their URL, with its choice, limits, queue and health, and this package's retries
   * and timeouts. Throws `HG_POOL_UNKNOWN` and, for wrong options, `HG_POOL_INVALID_OPTION` and `HG_BALANCER_INVALID_OPTION`.
   */
  dispatcher (pool: PoolName, options: DispatcherOptions = {}): Dispatcher {
    return this.#dispatcher(this.pool(pool), options)
  }

  /** Throws `HG_BALANCER_UNKNOWN_SPLIT`. */
  split (name: string): Split {
    const split = this.splits.get(name)
    if (split === undefined) throw new UnknownSplitError(name, [...this.splits.keys()].join(', '))
    return split
  }

  /** Says where a request would go and why, without sending it and without any effect on the pools. */
  explain (request: ImaginedRequest): RouteExplanation {
    return explainRoute(this.#explained, request)
  }

  /** Called by the plugin for each of its routes. */
  explains (route: ExplainedRoute): void {
    this.#explained.push(route)
  }
}

/** A pool's options with a function for what finds clients. */
async function withLocator (options: BalancerPoolOptions, path: string): Promise<PoolOptions> {
  const { clientLocation } = options
  if (typeof clientLocation !== 'object') return options as PoolOptions
  return { ...options as PoolOptions, clientLocation: await clientLocator(clientLocation, `${path}.clientLocation`) }
}

/** Rules inherit a route's mirror: its bounds hold for all of them together. */
function mirrorMaker (balancer: Balancer, random: () => number, deadlines: Deadlines): MirrorMaker {
  const known = new WeakMap<MirrorOptions, Mirror>()
  return (options, path) => {
    const before = known.get(options)
    if (before !== undefined) return before
    const pool = balancer.pools.get(options.pool)
    if (pool === undefined) refuseRoute(`${path}.pool`, `must be one of the pools ${[...balancer.pools.keys()].join(', ')}`, options.pool)
    const mirror = new Mirror(options, pool, random, deadlines)
    known.set(options, mirror)
    balancer.mirrors.push(mirror)
    return mirror
  }
}

/** Handlers may write options anew for each request: equal ones are one mirror, or its bounds would hold for nothing. */
function byContent (make: MirrorMaker): MirrorMaker {
  const known = new Map<string, MirrorOptions>()
  return (options, path) => {
    const text = JSON.stringify(options)
    if (!known.has(text)) known.set(text, options)
    return make(known.get(text)!, path)
  }
}

const plugin: FastifyPluginAsync<BalancerOptions> = async (app: FastifyInstance, options) => {
  checkBalancer(options)
  const environment = { clock: options.clock ?? systemClock, random: options.random ?? Math.random }
  const deadlines = new Deadlines(environment.clock)
  const first = !app.hasDecorator('balancer')
  const viaName = options.viaName ?? `headgate-${randomBytes(4).toString('hex')}`
  const own: Pool[] = []
  const balancer = first
    ? new Balancer(
      (route, active) => { app.log.warn({ route }, active ? 'closed for maintenance' : 'open again') },
      (pool, given) => {
        checkDispatcher(given)
        const { key, ...rest } = given
        return openDispatcher(pool, routeSettings('/', rest, viaName, 'dispatcher options', mirrors), key, app.log.child({ pool: pool.name }))
      }
    )
    : app.balancer
  const mirrors = mirrorMaker(balancer, environment.random, deadlines)
  if (first) closeInTime(app, () => balancer.pools.values(), options.closeTimeout ?? 30_000)
  // Nobody waits for a copy, and so closing does not either.
  app.addHook('preClose', async () => { for (const mirror of balancer.mirrors) mirror.stop() })
  app.addHook('onClose', async () => { await Promise.all(own.map((pool) => pool.close())) })
  for (const [name, given] of Object.entries(options.pools)) {
    if (balancer.pools.has(name)) refuseRoute(`options.pools.${name}`, 'is already there; pool names are unique in an app', name)
    const poolOptions = await withLocator(Array.isArray(given) ? { upstreams: given } : given as BalancerPoolOptions, `options.pools.${name}`)
    const pool = new Pool(name, poolOptions, `options.pools.${name}`, environment, deadlines)
    pool.on('state', (upstream, change) => {
      app.log[change.to === 'up' ? 'info' : 'warn']({ pool: name, upstream: upstream.url, ...change }, 'upstream changed its state')
    })
    pool.on('panic', (active) => { app.log.warn({ pool: name, active }, 'too few upstreams are left: ejections are overridden') })
    logDiscovery(pool, app.log)
    balancer.pools.set(name, pool)
    own.push(pool)
  }
  app.addHook('onReady', async () => { await Promise.all(own.map((pool) => pool.discover())) })
  if (first) {
    app.decorate('balancer', balancer)
    app.decorateRequest('upstream', null)
    app.decorateRequest('affinity', undefined)
    app.decorateRequest(WAY as never, null as never)
    app.decorateRequest('attempts', { getter () { return attemptsOf(this as never) } })
    app.decorateRequest('decision', { getter () { return decisionOf(this as never) } })
    const defaults = routeSettings('/', {}, viaName, 'reply.forward options', mirrors)
    const forwardMirrors = byContent(mirrors)
    const known = new WeakMap<ForwardOptions, Map<string, RouteSettings>>()
    app.decorateReply('forward', function forward (this: FastifyReply, name: string, forwardOptions?: ForwardOptions): FastifyReply {
      const pool = balancer.pool(name)
      const given = forwardOptions ?? (this.request.routeOptions.config as { readonly forward?: ForwardOptions }).forward
      let settings: RouteSettings | undefined = defaults
      if (given !== undefined) {
        // Several routes may share the same options.
        let byRoute = known.get(given)
        if (byRoute === undefined) known.set(given, byRoute = new Map())
        const url = this.request.routeOptions.url ?? '/'
        settings = byRoute.get(url)
        if (settings === undefined) {
          checkForward(given, 'reply.forward options')
          const prefix = url.replace(/\/?\*$/, '')
          if (given.rewritePrefix !== undefined && /[:*]/.test(prefix)) {
            refuseRoute('reply.forward options.rewritePrefix', `must not be given for ${url}, which has parameters: use rewritePath`, given.rewritePrefix)
          }
          byRoute.set(url, settings = routeSettings(prefix || '/', given, viaName, 'reply.forward options', forwardMirrors))
        }
      }
      forwardTo(this.request, this, [pool], settings, deadlines)
      return this
    })
    app.addHook('onReady', async () => {
      listenForUpgrades(app)
      listenForExpectations(app)
    })
  }
  for (const [index, route] of (options.routes ?? []).entries()) {
    const path = `options.routes[${index}]`
    // The scope's own prefix is part of what clients ask for, and of what `rewritePrefix` replaces.
    const prefix = `${app.prefix}${route.prefix}`.replace(/(?<=.)\/$/, '')
    const before = balancer.prefixes.get(prefix)
    if (before !== undefined) refuseRoute(`${path}.prefix`, `is already taken by ${before}; use rules for several pools under one prefix`, route.prefix)
    balancer.prefixes.set(prefix, first ? path : `an earlier registration's ${path}`)
    const settings = routeSettings(prefix, route, viaName, path, mirrors)
    const choose = compileChooser(route, path, {
      settings, pools: balancer.pools, random: environment.random, mirrors,
      splits: (split, at) => {
        if (balancer.splits.has(split.name)) refuseRoute(`${at}.name`, 'is already there; names of splits are unique in an app', split.name)
        balancer.splits.set(split.name, split as Split)
      }
    })
    const gate = new Gate(route.maintenance ?? options.maintenance ?? {}, route.maintenance === undefined ? 'options.maintenance' : `${path}.maintenance`)
    balancer.maintenance.add(prefix, gate)
    const onRequest = route.limits === undefined ? [gate.hook] : [compileLimits(route.limits, `${path}.limits`), gate.hook]
    balancer.routes.push(route)
    balancer.explains({ prefix, settings, choose })
    await app.register(async (scope) => {
      useProblems(scope, app, settings.pages)
      addRoute(scope, route.prefix, route.config ?? {}, path, (request, reply) => { sendTo(request, reply, choose(request), settings, deadlines) }, onRequest)
    })
  }
}

/** The plugin: `await app.register(balancer, { pools, routes })`. */
const balancer: FastifyPluginAsync<BalancerOptions> = fp(plugin, { name: '@headgate/balancer', fastify: '5.x' })
export default balancer
