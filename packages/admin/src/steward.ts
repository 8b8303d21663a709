import { channel } from 'node:diagnostics_channel'
import type { Clock, Pool } from '@headgate/core'
import { type PoolAdvice, type Scaling, poolsOf, Recorder, geometricBounds } from '@headgate/metrics'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { apply, plan } from './changes.ts'
import { BadChangeError, ConditionRequiredError, ConflictError, NotFoundError, UnavailableError } from './errors.ts'
import { EventLog } from './events.ts'
import type { Change, Plan, Snapshot } from './model.ts'
import type { AdminOptions } from './options.ts'
import { Sampler } from './sampler.ts'
import { etagOfAll, matches } from './state.ts'
import { Audience, sse } from './stream.ts'

const SECOND = 1000

/** What `@headgate/cache` offers, as far as it is needed here. */
interface Purgeable { purge (what: object): Promise<number> }

/** What a dry run is asked. */
export interface Imagined {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly ip?: string
}

interface Explaining { explain (request: Imagined): object }

/** Published for every change that was made: who, what, and the difference. */
export interface AuditMessage {
  readonly actor: string
  readonly address: string
  readonly action: string
  readonly diff: Plan['diff']
}

const audits = channel('headgate:admin:audit')

/** Everything behind the routes: looks, keeps, tells and changes. */
export class Steward {
  readonly recorder: Recorder
  readonly sampler: Sampler
  readonly events: EventLog
  readonly audience: Audience = new Audience()
  readonly #app: FastifyInstance
  readonly #options: AdminOptions
  readonly #clock: Clock
  readonly #version: string
  #stopped = false

  constructor (app: FastifyInstance, options: AdminOptions, clock: Clock, version: string) {
    this.#app = app
    this.#options = options
    this.#clock = clock
    this.#version = version
    const pools = (): ReadonlyMap<string, Pool> | undefined => poolsOf(app)
    // A tenth of a millisecond to two minutes, each bound a fifth above the one before: percentiles are right to 20 %.
    this.recorder = new Recorder(pools, { bounds: geometricBounds(0.1, 120_000, 1.2), upstreamLimit: options.upstreamLimit ?? 10_000, routeLimit: 1 })
    this.sampler = new Sampler(this.recorder, clock, this.#advice)
    this.events = new EventLog(clock, (pool) => pools()?.get(pool.name) === pool, this.#advice, (event) => {
      if (this.audience.size > 0) this.audience.send(sse('event', event, event.id))
    })
  }

  start (): void {
    this.recorder.start()
    this.events.start()
    this.#later()
  }

  stop (): void {
    this.#stopped = true
    this.recorder.stop()
    this.events.stop()
    this.audience.close()
  }

  readonly #advice = (pool: string): PoolAdvice | undefined => (this.#app as { readonly scaling?: Scaling }).scaling?.get(pool)

  get cache (): Purgeable | undefined {
    return (this.#app as { readonly cache?: Purgeable }).cache
  }

  explain (request: Imagined): object {
    const { balancer } = this.#app as { readonly balancer?: Explaining }
    if (balancer === undefined) throw new UnavailableError('there is no balancer to explain: register @headgate/balancer')
    return balancer.explain(request)
  }

  readonly find = (name: string): Pool | undefined => poolsOf(this.#app)?.get(name)

  pool (name: string): Pool {
    const pool = this.find(name)
    if (pool === undefined) throw new NotFoundError(`there is no pool '${name}'`)
    return pool
  }

  snapshot (): Snapshot {
    return { ...this.sampler.snapshot(), version: this.#version, can: { purge: this.cache !== undefined, change: this.#options.readOnly !== true } }
  }

  /** Makes a change, unless `If-Match` says that it was meant for another state. Throws before anything is changed. */
  change (changes: readonly Change[], request: FastifyRequest, dryRun: boolean, required: boolean): Plan {
    const ifMatch = request.headers['if-match']
    const planned = plan(changes, this.find)
    if (ifMatch !== undefined && !matches(ifMatch, planned.etag)) throw new ConflictError(planned.etag)
    if (dryRun) return planned
    if (this.#options.readOnly === true) throw new UnavailableError('changes are switched off (readOnly)')
    if (ifMatch === undefined && required) throw new ConditionRequiredError()
    const actor = this.#actor(request)
    apply(changes, this.find, actor, (change, error) => {
      if (error !== undefined) this.#app.log.error({ err: error, change }, 'an upstream could not be removed')
    })
    for (const { pool, upstream, url, field, before, after } of planned.diff) {
      const text = field === 'member' ? (after === true ? 'added' : 'removal begun') : `${field}: ${String(before)} → ${String(after)}`
      this.events.add({ kind: 'audit', severity: 'info', pool, upstream, url, actor, text })
    }
    this.#audit(request, actor, changes.map(({ op }) => op).join(', '), planned.diff)
    const touched = [...new Set(changes.map(({ pool }) => pool))].map((name) => this.pool(name))
    return { ...planned, etag: etagOfAll(touched) }
  }

  async purge (what: object, request: FastifyRequest): Promise<number> {
    const { cache } = this
    if (cache === undefined) throw new UnavailableError('there is no cache to purge: register @headgate/cache')
    if (this.#options.readOnly === true) throw new UnavailableError('changes are switched off (readOnly)')
    let count: number
    try {
      count = await cache.purge(what)
    } catch (error) {
      throw new BadChangeError((error as Error).message)
    }
    const actor = this.#actor(request)
    this.events.add({ kind: 'purge', severity: 'info', actor, text: `cache purged (${describe(what)}): ${count} ${count === 1 ? 'response' : 'responses'}` })
    this.#audit(request, actor, 'purge', [])
    return count
  }

  #actor (request: FastifyRequest): string {
    return this.#options.actor?.(request) ?? ''
  }

  #audit (request: FastifyRequest, actor: string, action: string, diff: Plan['diff']): void {
    const message: AuditMessage = { actor, address: request.ip, action, diff }
    request.log.info({ audit: message }, 'an operator made a change')
    if (audits.hasSubscribers) audits.publish(message)
  }

  #later (): void {
    this.#clock.setTimeout(() => {
      if (this.#stopped) return
      this.#later()
      const tick = this.sampler.step()
      if (this.audience.size > 0) this.audience.send(sse('tick', tick))
    }, SECOND)
  }
}

function describe (what: object): string {
  return Object.entries(what).map(([name, value]) => value === true ? name : `${name}: ${String(value)}`).join('; ')
}
