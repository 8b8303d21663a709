import type { FastifyBaseLogger } from 'fastify'
import { Deadlines, type Environment, type Pool } from '@headgate/core'
import { type Assembly, type BuiltListener, type Surroundings, assemble } from './assembly.ts'
import { checkStream, type StreamOptions } from './options.ts'
import { Stream, type StreamUpdate } from './stream.ts'
import type { TcpListener } from './tcp/listener.ts'
import type { UdpListener } from './udp/listener.ts'

/** Checks, metrics and the admin API find pools with the balancer of the app, where there is one. */
interface Sharing {
  /** Throws for names that are the balancer's own, unless they are those of `own`. */
  check (pools: readonly Pool[], own: readonly Pool[]): void
  share (gone: readonly Pool[], pools: readonly Pool[]): void
}

/** What one registration of the plugin has at work, and what became of it before. */
export class Registration {
  readonly #environment: Environment
  readonly #deadlines: Deadlines
  readonly #log: FastifyBaseLogger
  readonly #stream: Stream
  readonly #sharing: Sharing
  /** Listeners that take nothing new, with the pools that have gone with them, until their last connection has ended. */
  readonly #retired = new Set<{ readonly listeners: readonly (TcpListener | UdpListener)[]; readonly pools: readonly Pool[] }>()
  #assembly: Assembly

  constructor (
    options: StreamOptions, stream: Stream, environment: Environment, log: FastifyBaseLogger, sharing: Sharing
  ) {
    this.#environment = environment
    this.#deadlines = new Deadlines(environment.clock)
    this.#log = log
    this.#stream = stream
    this.#sharing = sharing
    this.#assembly = assemble(options, this.#around(NOTHING))
    for (const [name, { pool }] of this.#assembly.pools) stream.pools.set(name, pool)
    for (const [name, { listener }] of this.#assembly.listeners) stream.listeners.set(name, listener)
  }

  get pools (): Pool[] { return poolsOf(this.#assembly) }

  /** Gives the pools to the balancer, where there is one. Throws `HG_STREAM_INVALID_OPTION` for names that it has already. */
  share (): void {
    this.#sharing.check(this.pools, [])
    this.#sharing.share([], this.pools)
  }

  async start (): Promise<void> {
    await Promise.all(this.pools.map((pool) => pool.discover()))
    for (const { listener } of this.#assembly.listeners.values()) await this.#open(listener)
  }

  stop (): void {
    for (const listener of this.#listeners()) listener.stop()
  }

  async close (): Promise<void> {
    await Promise.all(this.#listeners().map((listener) => listener.close()))
    await Promise.all([...this.pools, ...[...this.#retired].flatMap(({ pools }) => pools)].map((pool) => pool.close()))
  }

  /** See {@link Stream.prepare}. */
  async prepare (options: StreamOptions): Promise<StreamUpdate> {
    // Without any it is a stream that is to end.
    if (options.listeners.length > 0) checkStream(options, 'options')
    const before = this.#assembly
    const next = assemble(options, this.#around(before), before)
    const kept = new Set(poolsOf(before))
    const fresh = poolsOf(next).filter((pool) => !kept.has(pool))
    const leaving = [...before.listeners.values()].filter(({ listener }) => ![...next.listeners.values()].some((other) => other.listener === listener))
    const coming = [...next.listeners.values()].filter(({ listener }) => ![...before.listeners.values()].some((other) => other.listener === listener))
    const takeovers = pairs(leaving, coming)
    this.#sharing.check(poolsOf(next), poolsOf(before))
    const opened: (TcpListener | UdpListener)[] = []
    const discard = async (): Promise<void> => {
      await Promise.all(opened.map((listener) => listener.close()))
      await Promise.all(fresh.map((pool) => pool.close()))
    }
    try {
      await Promise.all(fresh.map((pool) => pool.discover()))
      for (const { listener } of coming) {
        if (takeovers.has(listener)) continue
        await this.#open(listener)
        opened.push(listener)
      }
    } catch (error) {
      await discard()
      throw error
    }
    return { stream: this.#picture(before, next), commit: () => { this.#commit(next, leaving, takeovers) }, discard }
  }

  #commit (next: Assembly, leaving: readonly BuiltListener[], takeovers: ReadonlyMap<TcpListener | UdpListener, TcpListener | UdpListener>): void {
    const before = this.#assembly
    this.#assembly = next
    for (const [fresh, old] of takeovers) fresh.takeOver(old as never)
    const listeners = leaving.map(({ listener }) => listener)
    for (const listener of listeners) listener.stop()
    const staying = new Set(poolsOf(next))
    const gone = poolsOf(before).filter((pool) => !staying.has(pool))
    replace(this.#stream, before, next)
    this.#sharing.share(gone, poolsOf(next))
    for (const [name, { pool, upstreams }] of next.pools) {
      // It ends when the removed ones have finished their work.
      if (upstreams !== undefined) pool.update(upstreams).catch((error: unknown) => { this.#log.error({ err: error, pool: name }, 'upstreams could not be changed') })
    }
    this.#retire(listeners, gone)
  }

  #retire (listeners: readonly (TcpListener | UdpListener)[], pools: readonly Pool[]): void {
    if (listeners.length + pools.length === 0) return
    const retired = { listeners, pools }
    this.#retired.add(retired)
    void Promise.all(listeners.map((listener) => listener.settled())).then(async () => {
      if (!this.#retired.delete(retired)) return
      await Promise.all(listeners.map((listener) => listener.close()))
      await Promise.all(pools.map((pool) => pool.close()))
    }).catch((error: unknown) => { this.#log.error({ err: error }, 'what listened before could not be closed') })
  }

  async #open (listener: TcpListener | UdpListener): Promise<void> {
    await listener.listen()
    this.#log.info({ listener: listener.name, protocol: listener.protocol, address: listener.address }, 'stream listening')
  }

  #listeners (): (TcpListener | UdpListener)[] {
    return [...[...this.#assembly.listeners.values()].map(({ listener }) => listener), ...[...this.#retired].flatMap(({ listeners }) => listeners)]
  }

  /** The app's stream as it will be. */
  #picture (before: Assembly, next: Assembly): Stream {
    const picture = new Stream()
    for (const [name, pool] of this.#stream.pools) picture.pools.set(name, pool)
    for (const [name, listener] of this.#stream.listeners) picture.listeners.set(name, listener)
    replace(picture, before, next)
    return picture
  }

  #around (own: Assembly): Surroundings {
    const { pools, listeners } = this.#stream
    const others = (all: ReadonlyMap<string, unknown>, mine: ReadonlyMap<string, unknown>): Set<string> =>
      new Set([...all.keys()].filter((name) => !mine.has(name)))
    return {
      environment: this.#environment, deadlines: this.#deadlines, log: this.#log,
      taken: { pools: others(pools, own.pools), listeners: others(listeners, own.listeners) }
    }
  }
}

const NOTHING: Assembly = { pools: new Map(), listeners: new Map() }

const poolsOf = ({ pools }: Assembly): Pool[] => Array.from(pools.values(), ({ pool }) => pool)

function replace (stream: Stream, before: Assembly, next: Assembly): void {
  for (const name of before.pools.keys()) stream.pools.delete(name)
  for (const name of before.listeners.keys()) stream.listeners.delete(name)
  for (const [name, { pool }] of next.pools) stream.pools.set(name, pool)
  for (const [name, { listener }] of next.listeners) stream.listeners.set(name, listener)
}

/** Who takes whose place: the address is what a socket has, not the name. */
function pairs (leaving: readonly BuiltListener[], coming: readonly BuiltListener[]): Map<TcpListener | UdpListener, TcpListener | UdpListener> {
  const free = [...leaving]
  const found = new Map<TcpListener | UdpListener, TcpListener | UdpListener>()
  for (const { listener, options } of coming) {
    const fits = (other: BuiltListener): boolean => other.options.listen === options.listen && other.listener.protocol === listener.protocol
    // Those with the same name first: of several at port 0 each keeps its own.
    const at = free.findIndex((other) => fits(other) && other.listener.name === listener.name)
    const index = at === -1 ? free.findIndex(fits) : at
    if (index !== -1) found.set(listener, free.splice(index, 1)[0]!.listener)
  }
  return found
}
