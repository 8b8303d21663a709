import { isDeepStrictEqual } from 'node:util'
import type { FastifyBaseLogger } from 'fastify'
import { type Deadlines, type Environment, logDiscovery, Pool, type PoolOptions, type UpstreamSpec } from '@headgate/core'
import { listenAddress } from './address.ts'
import { type Destination, type ListenerOptions, type StreamOptions, type StreamPool, type TcpListenerOptions, type UdpListenerOptions, isUdp } from './options.ts'
import { refuseListener } from './refuse.ts'
import { type Exit, TcpListener } from './tcp/listener.ts'
import { proxyWriter } from './tcp/proxy-out.ts'
import { compileMatch } from './tcp/routes.ts'
import { tcpSettings } from './tcp/settings.ts'
import { Termination } from './tcp/termination.ts'
import { tcpPool, udpPool } from './transport.ts'
import { UdpListener, udpSettings } from './udp/listener.ts'

export interface BuiltPool {
  readonly pool: Pool
  readonly options: PoolOptions
  readonly udp: boolean
  /** The upstreams of an earlier pool that goes on are to become these. */
  readonly upstreams: readonly UpstreamSpec[] | undefined
}

export interface BuiltListener {
  readonly listener: TcpListener | UdpListener
  readonly options: ListenerOptions
  readonly pools: readonly Pool[]
}

/** What one set of options makes; nothing of it has begun. */
export interface Assembly {
  readonly pools: ReadonlyMap<string, BuiltPool>
  readonly listeners: ReadonlyMap<string, BuiltListener>
}

export interface Surroundings {
  readonly environment: Environment
  readonly deadlines: Deadlines
  readonly log: FastifyBaseLogger
  /** Names that others have in the same app. */
  readonly taken: { readonly pools: ReadonlySet<string>; readonly listeners: ReadonlySet<string> }
}

/** Builds what options ask for. What is the same as in `before` is taken from there. Throws `HG_STREAM_INVALID_OPTION`. */
export function assemble (options: StreamOptions, around: Surroundings, before: Assembly = NOTHING): Assembly {
  const builder = new Builder(around, before)
  // A pool that finds its upstreams may say nothing of how they are spoken to: whoever uses it does.
  const datagrams = new Set(options.listeners.filter(({ protocol }) => protocol === 'udp').map(({ pool }) => pool))
  for (const [name, pool] of Object.entries<StreamPool>(options.pools ?? {})) builder.pool(name, pool, `options.pools.${name}`, isUdp(pool) ?? datagrams.has(name))
  for (const [index, listener] of options.listeners.entries()) builder.listener(listener, `options.listeners[${index}]`)
  return builder
}

const NOTHING: Assembly = { pools: new Map(), listeners: new Map() }

class Builder implements Assembly {
  readonly pools = new Map<string, BuiltPool>()
  readonly listeners = new Map<string, BuiltListener>()
  readonly #around: Surroundings
  readonly #before: Assembly

  constructor (around: Surroundings, before: Assembly) {
    this.#around = around
    this.#before = before
  }

  pool (name: string, given: StreamPool, path: string, udp: boolean): Pool {
    const { environment, deadlines, log, taken } = this.#around
    if (this.pools.has(name) || taken.pools.has(name)) refuseListener(path, 'is already there; pool names are unique in an app', name)
    const options: PoolOptions = Array.isArray(given) ? { upstreams: given } : given as PoolOptions
    if (typeof options.hashOn === 'string' && options.hashOn !== 'client-address') refuseListener(`${path}.hashOn`, "must be 'client-address' or a function of the connection: layer 4 has no requests", options.hashOn)
    // Whatever becomes of it: the new options are checked as a whole.
    const pool = new Pool(name, options, path, environment, deadlines, udp ? udpPool : tcpPool)
    const old = this.#before.pools.get(name)
    if (old?.udp === udp && goesOn(old.options, options)) {
      void pool.close()
      this.pools.set(name, { pool: old.pool, options, udp, upstreams: isDeepStrictEqual(old.options, options) ? undefined : options.upstreams })
      return old.pool
    }
    pool.on('state', (upstream, change) => { log[change.to === 'up' ? 'info' : 'warn']({ pool: name, upstream: upstream.url, ...change }, 'upstream changed its state') })
    pool.on('panic', (active) => { log.warn({ pool: name, active }, 'too few upstreams are left: ejections are overridden') })
    logDiscovery(pool, log)
    this.pools.set(name, { pool, options, udp, upstreams: undefined })
    return pool
  }

  listener (options: ListenerOptions, path: string): void {
    const name = options.name ?? `${options.protocol ?? 'tcp'}:${options.listen}`
    if (this.listeners.has(name) || this.#around.taken.listeners.has(name)) refuseListener(options.name === undefined ? `${path}.listen` : `${path}.name`, 'is already there; listeners need different names', name)
    const built = options.protocol === 'udp' ? this.#udp(name, options, path) : this.#tcp(name, options, path)
    const old = this.#before.listeners.get(name)
    const same = old !== undefined && isDeepStrictEqual(withoutPools(old.options), withoutPools(options)) &&
      old.pools.length === built.pools.length && old.pools.every((pool, index) => pool === built.pools[index])
    this.listeners.set(name, same ? { ...built, listener: old.listener } : built)
  }

  #tcp (name: string, options: TcpListenerOptions, path: string): BuiltListener {
    if (options.pool === undefined && (options.routes ?? []).length === 0) refuseListener(`${path}.pool`, "is required without 'routes'", undefined)
    const settings = tcpSettings(options, path)
    const exits: Exit[] = (options.routes ?? []).map((route, index) => {
      const at = `${path}.routes[${index}]`
      if (options.tls !== undefined && route.tls !== undefined) refuseListener(`${at}.tls`, "has no place where the listener's own 'tls' ends it already", route.tls)
      return { ...this.#exit(`${name}.${index}`, route, at, options.sendProxy), match: compileMatch(route.match, `${at}.match`) }
    })
    const { pool } = options
    const exit = pool === undefined ? undefined : this.#exit(name, { pool }, path, options.sendProxy)
    const listener = new TcpListener({
      name, settings, exits, exit,
      address: listenAddress(options.listen, `${path}.listen`, true),
      termination: options.tls === undefined ? undefined : new Termination(options.tls, `${path}.tls`),
      ...this.#around
    })
    return { listener, options, pools: [...exits, ...exit === undefined ? [] : [exit]].map(({ pool }) => pool) }
  }

  #udp (name: string, options: UdpListenerOptions, path: string): BuiltListener {
    const address = listenAddress(options.listen, `${path}.listen`, false) as { host: string; port: number }
    const pool = this.#poolOf(name, options.pool, `${path}.pool`, true)
    return { listener: new UdpListener({ name, address, pool, settings: udpSettings(options), ...this.#around }), options, pools: [pool] }
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
    const found = this.pools.get(given)
    if (found === undefined) return refuseListener(path, `must be one of ${[...this.pools.keys()].join(', ') || "'pools', of which there are none"}`, given)
    if (found.udp !== udp) refuseListener(path, udp ? 'must be a pool of udp:// upstreams' : 'must not be a pool of udp:// upstreams', given)
    return found.pool
  }
}

/** Nothing but its listed upstreams changes, if anything: it can go on. */
function goesOn ({ upstreams: before, ...one }: PoolOptions, { upstreams: after, ...other }: PoolOptions): boolean {
  return isDeepStrictEqual(one, other) && (isDeepStrictEqual(before, after) || (before !== undefined && after !== undefined))
}

/** A listener's own options; pools are compared as what they have become. */
function withoutPools (options: ListenerOptions): object {
  const { pool: _, ...rest } = options
  if (options.protocol === 'udp' || options.routes === undefined) return rest
  return { ...rest, routes: options.routes.map(({ pool: _pool, ...route }) => route) }
}
