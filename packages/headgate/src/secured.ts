import { isDeepStrictEqual } from 'node:util'
import { refuse } from '@headgate/core'
import type { RedisOptions, RedisState } from '@headgate/redis'
import type { Edge, TicketStore, TlsOptions } from '@headgate/tls'
import fastify, { type FastifyInstance } from 'fastify'
import { InnerServer, type Outer } from './generation.ts'
import { nested } from './serve.ts'
import type { ServeOptions } from './serve-options.ts'

/** As `acme.storage`: the Redis of the configuration. */
const IN_REDIS = 'redis'

/** Certificates for servers that are made of them, and what they share with others. */
export class Secured {
  readonly edge: Edge
  readonly #config: TlsOptions
  readonly #redisOptions: RedisOptions | undefined
  readonly #redis: RedisState | undefined
  readonly #workers: TicketStore | undefined
  #app: FastifyInstance | undefined

  private constructor (
    edge: Edge, config: TlsOptions, redisOptions: RedisOptions | undefined, redis: RedisState | undefined, workers: TicketStore | undefined
  ) {
    this.edge = edge
    this.#config = config
    this.#redisOptions = redisOptions
    this.#redis = redis
    this.#workers = workers
  }

  /** `workers`: where keys of tickets are shared without Redis. Throws as `createTls` does. */
  static async make (tls: TlsOptions, redisOptions: RedisOptions | undefined, workers: TicketStore | undefined, before?: Edge): Promise<Secured> {
    const { createTls } = await import('@headgate/tls')
    const wanted = redisOptions !== undefined && ((tls.tickets !== false && tls.tickets?.store === undefined) || tls.acme?.storage === IN_REDIS)
    const redis = wanted ? (await import('@headgate/redis')).connectRedis(redisOptions) : undefined
    try {
      const edge = await nested('tls', async () => createTls(withStores(tls, redis, workers), before))
      return new Secured(edge, tls, redisOptions, redis, workers)
    } catch (error) {
      await redis?.close()
      throw error
    }
  }

  /** By other options, for the servers that run; `undefined` where nothing of it changes, or nothing can. */
  async next ({ tls, redis }: ServeOptions): Promise<Secured | undefined> {
    if (tls === undefined) return undefined
    const { keptOptions } = await import('@headgate/tls')
    const { options: live } = keptOptions(this.#config, tls)
    if (isDeepStrictEqual(live, this.#config) && isDeepStrictEqual(redis, this.#redisOptions)) return undefined
    return Secured.make(live, redis, this.#workers, this.edge)
  }

  /** What belongs to TLS and to no configuration alone has an app of its own: files that are watched, keys of tickets, the redirect. */
  async start ({ logLevel = 'info' }: ServeOptions, outer: Outer): Promise<void> {
    const app = fastify({ logger: { level: logLevel }, serverFactory: (handler) => new InnerServer(handler as never, outer) as never })
    this.#app = app
    await app.register(this.edge.plugin)
    await app.ready()
    await app.listen({ path: 'headgate', listenTextResolver: () => 'certificates are watched' })
  }

  async close (): Promise<void> {
    await this.#app?.close()
    await this.#redis?.close()
  }
}

function withStores (tls: TlsOptions, redis: RedisState | undefined, workers: TicketStore | undefined): TlsOptions {
  const { tickets = {}, acme } = tls
  if (acme?.storage === IN_REDIS && redis === undefined) refuse('options.acme.storage', "'redis' needs options.redis; a folder of that name is './redis'", acme.storage)
  const store = tickets === false ? undefined : tickets.store ?? redis?.keyValue('tickets') ?? workers
  return {
    ...tls,
    ...tickets !== false && store !== undefined && { tickets: { ...tickets, store } },
    ...acme?.storage === IN_REDIS && { acme: { ...acme, storage: redis!.keyValue('acme') } }
  }
}
