import { type Server, createServer } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import fastify, { type FastifyInstance } from 'fastify'
import type { Pool, UpstreamSpec } from '@headgate/core'
import type { StreamUpdate } from '@headgate/stream'
import type { TicketStore } from '@headgate/tls'
import { type ConfigChange, diffConfig } from './diff.ts'
import { Front } from './front.ts'
import { joinWorkers } from '@headgate/workers'
import { type Generation, InnerServer, type Outer } from './generation.ts'
import { Kept } from './kept.ts'
import { parseListen } from './listen.ts'
import { DEFAULT_ADMIN, type Shared, build, nested } from './serve.ts'
import { Secured } from './secured.ts'
import type { ServeOptions } from './serve-options.ts'

const DEFAULT_LISTEN = '127.0.0.1:8080'
/**
 * Milliseconds that a client's connection may be idle, as in any Fastify app. With Node's 5 s a request of a client that keeps connections for as long or
 * longer, another proxy for example, meets the end of its connection now and then.
 */
const KEPT = 72_000

/** The addresses of HTTP; with layer 4 alone there are none unless one is named, or the dashboard needs one. */
function addressesOf ({ listen, pools = {}, admin }: ServeOptions): readonly string[] {
  if (listen !== undefined) return typeof listen === 'string' ? [listen] : listen
  return Object.keys(pools).length > 0 || admin !== undefined ? [DEFAULT_LISTEN] : []
}

const upstreamsOf = (pool: unknown): readonly UpstreamSpec[] | undefined =>
  Array.isArray(pool) ? pool as UpstreamSpec[] : (pool as { readonly upstreams?: readonly UpstreamSpec[] }).upstreams

/** What servers of TLS keep until the process starts again. */
async function keptPaths ({ tls: before }: ServeOptions, { tls: after }: ServeOptions): Promise<string[]> {
  if (before === undefined || after === undefined) return []
  const { keptOptions } = await import('@headgate/tls')
  return keptOptions(before, after).kept.map((name) => `tls.${name}`)
}

/** What layer 4 is to become. */
interface NextLayer4 {
  readonly app: FastifyInstance
  /** `undefined` where it has only begun. */
  readonly update: StreamUpdate | undefined
  discard (): Promise<unknown>
}

/** A proxy that runs: its listeners stay while configurations come and go. */
export class Proxy {
  readonly #front: Front
  #layer4: FastifyInstance | undefined
  #secured: Secured | undefined
  readonly #kept: Kept
  readonly #retiring = new Set<Generation>()
  #options: ServeOptions
  #reloading: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | undefined

  private constructor (options: ServeOptions, front: Front, layer4: FastifyInstance | undefined, secured: Secured | undefined, kept: Kept) {
    this.#options = options
    this.#front = front
    this.#layer4 = layer4
    this.#secured = secured
    this.#kept = kept
  }

  /**
   * `workers`: where the workers of the machine share keys of TLS tickets. Resolves when it listens, after one log line with `msg: 'listening'`
   * and its `address`, whatever the log's level is.
   */
  static async start (options: ServeOptions, workers?: TicketStore): Promise<Proxy> {
    const { logLevel = 'info', clientHeadersTimeout } = options
    const addresses = addressesOf(options).map((text) => [text, parseListen(text)] as const)
    const secured = options.tls === undefined ? undefined : await Secured.make(options.tls, options.redis, workers)
    const edge = secured?.edge
    const layer4 = options.stream === undefined ? undefined : await startLayer4(options)
    const kept = new Kept(joinWorkers())
    let front: Front | undefined
    const outer: Outer = {
      address: () => front?.address(),
      gone: async () => front?.gone(),
      closeIdleConnections: () => { front?.closeIdleConnections() },
      closeAllConnections: () => { front?.closeAllConnections() }
    }
    try {
      const generation = await start(options, outer, { stream: layer4?.stream, edge, kept })
      const limits = clientHeadersTimeout === undefined ? { keepAliveTimeout: KEPT } : {
        keepAliveTimeout: KEPT,
        headersTimeout: clientHeadersTimeout,
        // Node looks for late clients every 30 s unless told otherwise.
        connectionsCheckingInterval: Math.max(50, Math.min(5000, Math.floor(clientHeadersTimeout / 4))),
        requestTimeout: 0
      }
      const make = (): Server => edge === undefined ? createServer(limits) : edge.tls.current.createServer(() => {}, { http: limits, keepAliveTimeout: KEPT })
      front = new Front(generation, make)
      for (const [text, address] of addresses) await front.open(text, address)
      await secured?.start(options, outer)
      const started = new Proxy(options, front, layer4, secured, kept)
      const { urls } = front
      const { log } = generation.app
      // Whoever waits for the line must not wait in vain because the log is quiet.
      log.level = 'info'
      log.info({ address: urls[0] ?? layer4?.stream.listeners.values().next().value?.address, ...urls.length > 1 && { addresses: urls } }, 'listening')
      log.level = logLevel
      return started
    } catch (error) {
      await front?.close()
      await front?.generation.app.close()
      await secured?.close()
      await layer4?.close()
      await kept.close()
      throw error
    }
  }

  /** The app of the present configuration. */
  get app (): FastifyInstance { return this.#front.generation.app }
  get options (): ServeOptions { return this.#options }
  /** Where it listens for HTTP: `http://host:port`, or the path of a socket. */
  get addresses (): readonly string[] { return this.#front.urls }

  /**
   * Takes over another configuration without dropping a connection, and says what has changed. When that throws, the running one
   * goes on as if nothing had been. Several calls are done one after the other.
   */
  reload (options: ServeOptions): Promise<ConfigChange[]> {
    const done = this.#reloading.then(() => this.#reload(options))
    this.#reloading = done.catch(() => {})
    return done
  }

  /** Takes no new connections, and resolves when what runs has ended, at the latest after `closeTimeout`. */
  close (): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close (): Promise<void> {
    await this.#reloading
    const gone = this.#front.close()
    await Promise.all([this.#front.generation, ...this.#retiring].map(({ app }) => app.close()))
    await Promise.all([gone, this.#layer4?.close(), this.#secured?.close()])
    await this.#kept.close()
  }

  async #reload (options: ServeOptions): Promise<ConfigChange[]> {
    const changes = diffConfig(this.#options, options, await keptPaths(this.#options, options))
    if (changes.length === 0) return changes
    const addresses = addressesOf(options)
    const parsed = addresses.map((text) => [text, parseListen(text)] as const)
    const rebuild = changes.some(({ effect }) => effect === 'rebuild')
    // Everything that may fail comes before anything that shows. What is changed in place is checked by building it once, too.
    const secured = await this.#secured?.next(options)
    const opened: string[] = []
    let layer4: NextLayer4 | undefined
    let next: Generation | undefined
    try {
      layer4 = await this.#nextLayer4(options)
      const stream = options.stream && (layer4?.update?.stream ?? (layer4?.app ?? this.#layer4)!.stream)
      next = await start(options, this.#front, { stream, edge: (secured ?? this.#secured)?.edge, kept: this.#kept })
      await secured?.start(options, this.#front)
      for (const [text, address] of parsed) {
        if (this.#front.has(text)) continue
        await this.#front.open(text, address)
        opened.push(text)
      }
    } catch (error) {
      await Promise.all(opened.map((text) => this.#front.shut(text)))
      await next?.app.close()
      await layer4?.discard()
      await secured?.close()
      throw error
    }
    const before = this.#options
    this.#options = options
    this.#layer4 = layer4?.app ?? this.#layer4
    layer4?.update?.commit()
    if (secured !== undefined) {
      secured.edge.tls.takeOver()
      const old = this.#secured!
      this.#secured = secured
      void old.close().catch((error: unknown) => { this.app.log.error({ err: error }, 'certificates from before could not be closed') })
    }
    if (rebuild) {
      const old = this.#front.generation
      this.#front.serve(next)
      this.#retire(old)
    } else {
      await next.app.close()
      this.#changePools(this.app.balancer?.pools, before.pools, options.pools)
      this.#changeSplits(options)
      this.app.log.level = options.logLevel ?? 'info'
    }
    this.#front.headersTimeout = options.clientHeadersTimeout ?? 60_000
    for (const key of this.#front.keys) if (!addresses.includes(key)) void this.#front.shut(key)
    return changes
  }

  /** Layer 4 by other options, for the listeners that run, or begun; `undefined` where nothing of it changes. */
  async #nextLayer4 (options: ServeOptions): Promise<NextLayer4 | undefined> {
    const { stream } = options
    if (isDeepStrictEqual(this.#options.stream, stream)) return undefined
    const running = this.#layer4
    if (running === undefined) {
      const app = await startLayer4(options)
      return { app, update: undefined, discard: () => app.close() }
    }
    const update = await nested('stream', () => running.stream.prepare(stream ?? { listeners: [] }))
    return { app: running, update, discard: () => update.discard() }
  }

  /** Members and weights change while those that stay keep what is known of them. */
  #changePools (pools: ReadonlyMap<string, Pool> | undefined, before: object = {}, after: object = {}): void {
    for (const [name, given] of Object.entries(after)) {
      const was = (before as Record<string, unknown>)[name]
      const pool = pools?.get(name)
      const wanted = upstreamsOf(given)
      if (was === undefined || pool === undefined || wanted === undefined || isDeepStrictEqual(upstreamsOf(was), wanted)) continue
      // It ends when the removed ones have finished their work.
      pool.update(wanted).catch((error: unknown) => { this.app.log.error({ err: error, pool: name }, 'upstreams could not be changed') })
    }
  }

  #changeSplits ({ routes = [] }: ServeOptions): void {
    for (const { prefix, rules = [] } of routes) {
      for (const [index, { pool, name }] of rules.entries()) {
        if (typeof pool === 'object') this.app.balancer.split(name ?? `${prefix}#${index}`).setWeights(pool as Record<string, number>)
      }
    }
  }

  /** Lets a generation finish what it has begun, however long that takes, and closes it then. */
  #retire (generation: Generation): void {
    this.#retiring.add(generation)
    // The dashboard comes again, and sees the new one.
    for (const response of generation.streams) response.destroy()
    void generation.server.settled().then(() => generation.app.close()).catch((error: unknown) => {
      this.app.log.error({ err: error }, 'what ran before could not be closed')
    }).finally(() => { this.#retiring.delete(generation) })
  }
}

/** Starts a proxy of its own. */
export function serve (options: ServeOptions): Promise<Proxy> {
  return Proxy.start(options)
}

/** Builds an app whose requests come from elsewhere. */
async function start (options: ServeOptions, outer: Outer, shared: Pick<Shared, 'stream' | 'edge' | 'kept'>): Promise<Generation> {
  let server: InnerServer | undefined
  const app = await build(options, {
    ...shared, serverFactory: (handler) => server = new InnerServer(handler, outer)
  })
  try {
    await app.ready()
    const { level } = app.log
    // Its server only seems to listen: nothing to tell.
    app.log.level = 'silent'
    await app.listen({ path: 'headgate' })
    app.log.level = level
    const { admin } = options
    return { app, server: server!, streamPath: admin && `${admin.prefix ?? DEFAULT_ADMIN}/api/stream`, streams: new Set() }
  } catch (error) {
    await app.close()
    throw error
  }
}

/** Layer 4 has an app of its own: its listeners stay when the one for HTTP is replaced. */
async function startLayer4 ({ stream: options, logLevel = 'info' }: ServeOptions): Promise<FastifyInstance> {
  const app = fastify({ logger: { level: logLevel } })
  try {
    await nested('stream', async () => app.register((await import('@headgate/stream')).default, options!))
    await app.ready()
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}
