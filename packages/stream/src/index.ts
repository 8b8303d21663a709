import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { Deadlines, type Environment, logDiscovery, Pool, type PoolOptions, systemClock } from '@headgate/core'
import { parseListen } from './address.ts'
import type { Counters } from './counters.ts'
import { UnknownListenerError } from './errors.ts'
import { checkStream, type Destination, type ListenerOptions, type StreamOptions, type StreamPool, type TcpListenerOptions, type UdpListenerOptions } from './options.ts'
import { refuseListener } from './refuse.ts'
import { type Exit, TcpListener } from './tcp/listener.ts'
import { proxyWriter } from './tcp/proxy-out.ts'
import { compileMatch } from './tcp/routes.ts'
import { tcpSettings } from './tcp/settings.ts'
import { Termination } from './tcp/termination.ts'
import { tcpPool, udpPool } from './transport.ts'
import { UdpListener, udpSettings } from './udp/listener.ts'

export * from './errors.ts'
export * from './probes/index.ts'
export { streamSchema } from './options.ts'
export type * from './options.ts'
export type { Counters } from './counters.ts'
export type { SendProxyOptions } from './tcp/proxy-out.ts'
export type { TlsSource } from './tcp/termination.ts'
export type { MatchConditions, MatchFunction, RouteMatch, StreamInfo } from './tcp/routes.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The layer 4 listeners and their pools, while the app runs. */
    stream: Stream
  }
}

/** A listener, as others see it. */
export interface Listener {
  readonly name: string
  readonly protocol: 'tcp' | 'udp'
  /** Where it listens; `undefined` while it does not. */
  readonly address: string | undefined
  readonly counters: Counters
}

/** The layer 4 listeners of an app, and their pools. */
export class Stream {
  readonly pools: Map<string, Pool> = new Map()
  readonly listeners: Map<string, Listener> = new Map()

  /** Throws `HG_STREAM_UNKNOWN_LISTENER`. */
  listener (name: string): Listener {
    const listener = this.listeners.get(name)
    if (listener === undefined) throw new UnknownListenerError(name, [...this.listeners.keys()].join(', '))
    return listener
  }
}

/** What a balancer in the same app has: pools that checks, metrics and the admin API look at. */
interface WithBalancer { readonly balancer: { readonly pools: Map<string, Pool> } }

/** Builds what one registration asks for. */
class Builder {
  readonly #app: FastifyInstance
  readonly #stream: Stream
  readonly #environment: Environment
  readonly #deadlines: Deadlines
  readonly pools: Pool[] = []

  constructor (app: FastifyInstance, stream: Stream, environment: Environment) {
    this.#app = app
    this.#stream = stream
    this.#environment = environment
    this.#deadlines = new Deadlines(environment.clock)
  }

  pool (name: string, given: StreamPool, path: string, udp: boolean): Pool {
    const { pools } = this.#stream
    if (pools.has(name)) refuseListener(path, 'is already there; pool names are unique in an app', name)
    const options: PoolOptions = Array.isArray(given) ? { upstreams: given } : given as PoolOptions
    if (typeof options.hashOn === 'string' && options.hashOn !== 'client-address') refuseListener(`${path}.hashOn`, "must be 'client-address' or a function of the connection: layer 4 has no requests", options.hashOn)
    const pool = new Pool(name, options, path, this.#environment, this.#deadlines, udp ? udpPool : tcpPool)
    pool.on('state', (upstream, change) => {
      this.#app.log[change.to === 'up' ? 'info' : 'warn']({ pool: name, upstream: upstream.url, ...change }, 'upstream changed its state')
    })
    pool.on('panic', (active) => { this.#app.log.warn({ pool: name, active }, 'too few upstreams are left: ejections are overridden') })
    logDiscovery(pool, this.#app.log)
    pools.set(name, pool)
    this.pools.push(pool)
    return pool
  }

  listener (options: ListenerOptions, path: string): TcpListener | UdpListener {
    const name = options.name ?? `${options.protocol ?? 'tcp'}:${options.listen}`
    if (this.#stream.listeners.has(name)) refuseListener(options.name === undefined ? `${path}.listen` : `${path}.name`, 'is already there; listeners need different names', name)
    const listener = options.protocol === 'udp' ? this.#udp(name, options, path) : this.#tcp(name, options, path)
    this.#stream.listeners.set(name, listener)
    return listener
  }

  #tcp (name: string, options: TcpListenerOptions, path: string): TcpListener {
    if (options.pool === undefined && (options.routes ?? []).length === 0) refuseListener(`${path}.pool`, "is required without 'routes'", undefined)
    const settings = tcpSettings(options, path)
    const exits: Exit[] = (options.routes ?? []).map((route, index) => {
      const at = `${path}.routes[${index}]`
      if (options.tls !== undefined && route.tls !== undefined) refuseListener(`${at}.tls`, "has no place where the listener's own 'tls' ends it already", route.tls)
      return { ...this.#exit(`${name}.${index}`, route, at, options.sendProxy), match: compileMatch(route.match, `${at}.match`) }
    })
    const { pool } = options
    const exit = pool === undefined ? undefined : this.#exit(name, { pool }, path, options.sendProxy)
    return new TcpListener({
      name, settings, exits, exit,
      address: parseListen(options.listen, `${path}.listen`, true),
      termination: options.tls === undefined ? undefined : new Termination(options.tls, `${path}.tls`),
      environment: this.#environment, deadlines: this.#deadlines, log: this.#app.log
    })
  }

  #udp (name: string, options: UdpListenerOptions, path: string): UdpListener {
    const address = parseListen(options.listen, `${path}.listen`, false) as { host: string; port: number }
    const pool = this.#poolOf(name, options.pool, `${path}.pool`, true)
    const { log } = this.#app
    return new UdpListener({ name, address, pool, settings: udpSettings(options), environment: this.#environment, deadlines: this.#deadlines, log })
  }

  #exit (name: string, destination: Destination, path: string, sendProxy: Destination['sendProxy']): Exit {
    return {
      match: undefined,
      pool: this.#poolOf(name, destination.pool, `${path}.pool`, false),
      proxyWriter: proxyWriter(destination.sendProxy ?? sendProxy),
      termination: destination.tls === undefined ? undefined : new Termination(destination.tls, `${path}.tls`)
    }
  }

  #poolOf (name: string, given: string | StreamPool, path: string, udp: boolean): Pool {
    if (typeof given !== 'string') return this.pool(name, given, path, udp)
    const pool = this.#stream.pools.get(given)
    if (pool === undefined) return refuseListener(path, `must be one of ${[...this.#stream.pools.keys()].join(', ') || "'pools', of which there are none"}`, given)
    if ((pool.kind === udpPool) !== udp) refuseListener(path, udp ? 'must be a pool of udp:// upstreams' : 'must not be a pool of udp:// upstreams', given)
    return pool
  }
}

function isUdp (given: StreamPool): boolean {
  const { upstreams, discovery } = Array.isArray(given) ? { upstreams: given as unknown, discovery: undefined } : given as PoolOptions
  if (discovery !== undefined && 'protocol' in discovery && discovery.protocol === 'udp') return true
  const first: unknown = Array.isArray(upstreams) ? upstreams[0] : undefined
  const url = typeof first === 'object' && first !== null ? (first as { readonly url?: unknown }).url : first
  return typeof url === 'string' && url.startsWith('udp:')
}

/** Checks, metrics and the admin API find pools with the balancer; without one the pools are the stream's alone. */
function share (app: FastifyInstance, pools: readonly Pool[]): void {
  if (!app.hasDecorator('balancer')) return
  const { balancer } = app as unknown as WithBalancer
  for (const pool of pools) {
    const other = balancer.pools.get(pool.name)
    if (other !== undefined && other !== pool) refuseListener(`pools.${pool.name}`, "is the name of one of the balancer's pools too; pool names are unique in an app", pool.name)
    balancer.pools.set(pool.name, pool)
  }
}

const plugin: FastifyPluginAsync<StreamOptions> = async (app: FastifyInstance, options) => {
  checkStream(options, 'options')
  if (!app.hasDecorator('stream')) app.decorate('stream', new Stream())
  const environment = { clock: options.clock ?? systemClock, random: options.random ?? Math.random }
  const builder = new Builder(app, app.stream, environment)
  for (const [name, pool] of Object.entries<StreamPool>(options.pools ?? {})) builder.pool(name, pool, `options.pools.${name}`, isUdp(pool))
  const listeners = options.listeners.map((listener, index) => builder.listener(listener, `options.listeners[${index}]`))
  share(app, builder.pools)
  app.addHook('onReady', async () => {
    // The balancer may have been registered after us.
    share(app, builder.pools)
    await Promise.all(builder.pools.map((pool) => pool.discover()))
    for (const listener of listeners) {
      await listener.listen()
      app.log.info({ listener: listener.name, protocol: listener.protocol, address: listener.address }, 'stream listening')
    }
  })
  app.addHook('preClose', async () => { for (const listener of listeners) listener.stop() })
  app.addHook('onClose', async () => {
    await Promise.all(listeners.map((listener) => listener.close()))
    await Promise.all(builder.pools.map((pool) => pool.close()))
  })
}

/** The plugin: `await app.register(stream, { listeners })`. */
const stream: FastifyPluginAsync<StreamOptions> = fp(plugin, { name: '@headgate/stream', fastify: '5.x' })
export default stream
