import { channel } from 'node:diagnostics_channel'
import type { Clock, Pool } from '@headgate/core'
import { type PoolAdvice, type Scaling, poolsOf, Recorder, geometricBounds } from '@headgate/metrics'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { apply, plan } from './changes.ts'
import { Desk } from './desk.ts'
import { BadChangeError, ConditionRequiredError, ConflictError, NotFoundError, UnavailableError } from './errors.ts'
import { EventLog } from './events.ts'
import type { Plan, Snapshot } from './model.ts'
import type { AdminOptions } from './options.ts'
import type { ChangeQuestion, Question, Reply } from './questions.ts'
import { type Routing, isRouting, routingView } from './routing.ts'
import { Sampler } from './sampler.ts'
import { etagOf, etagOfAll, matches } from './state.ts'
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

interface Balancing extends Routing { explain (request: Imagined): object }

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
  readonly #desk: Desk
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
    this.sampler = new Sampler(this.recorder, clock, this.#advice, () => routingView(this.#routing()))
    this.events = new EventLog(clock, (pool) => pools()?.get(pool.name) === pool, this.#advice, (event) => {
      if (this.audience.size > 0) this.audience.send(sse('event', event, event.id))
      this.#desk.said(event)
    })
    this.#desk = new Desk({
      sharing: options.sharing, sampler: this.sampler, events: this.events, audience: this.audience, find: this.find, routing: this.#routing,
      answer: (question) => this.#answer(question),
      failed: (error, pool, id) => { app.log.error({ err: error, pool, upstream: id }, 'a change that another worker made could not be made here') }
    })
  }

  start (): void {
    this.recorder.start()
    this.events.start()
    this.#later()
  }

  /** The pools are there. */
  async begin (): Promise<void> {
    await this.#desk.begin(poolsOf(this.#app)?.values() ?? [])
  }

  stop (): void {
    this.#stopped = true
    this.#desk.stop()
    this.recorder.stop()
    this.events.stop()
    this.audience.close()
  }

  readonly #advice = (pool: string): PoolAdvice | undefined => (this.#app as { readonly scaling?: Scaling }).scaling?.get(pool)

  get #cache (): Purgeable | undefined {
    return (this.#app as { readonly cache?: Purgeable }).cache
  }

  explain (request: Imagined): object {
    const balancer = this.#balancer
    if (balancer === undefined) throw new UnavailableError('there is no balancer to explain: register @headgate/balancer')
    return balancer.explain(request)
  }

  get #balancer (): Balancing | undefined {
    return (this.#app as { readonly balancer?: Balancing }).balancer
  }

  readonly #routing = (): Routing | undefined => this.#balancer

  readonly find = (name: string): Pool | undefined => poolsOf(this.#app)?.get(name)

  /** Answers for the whole machine. */
  ask (question: Question): Promise<Reply> {
    return this.#desk.ask(question)
  }

  /** Makes a change, unless `If-Match` says that it was meant for another state. Rejects before anything is changed. */
  async change (question: Omit<ChangeQuestion, 'what' | 'ifMatch' | 'actor'>, request: FastifyRequest): Promise<Plan> {
    const actor = this.#actor(request)
    const made = (await this.ask({ what: 'change', ...question, ifMatch: request.headers['if-match'], actor })).body as Plan
    if (!question.dryRun) this.#audit(request, actor, question.changes.map(({ op }) => op).join(', '), made.diff)
    return made
  }

  async purge (purge: object, request: FastifyRequest): Promise<number> {
    const actor = this.#actor(request)
    const count = (await this.ask({ what: 'purge', purge, actor })).body as number
    this.#audit(request, actor, 'purge', [])
    return count
  }

  #answer (question: Question): Reply | Promise<Reply> {
    const { sampler } = this
    switch (question.what) {
      case 'pools': {
        const { total, pools } = sampler.snapshot()
        return { etag: '', body: { total, pools } }
      }
      case 'routing': {
        const view = routingView(this.#routing())
        return { etag: view.etag, body: view }
      }
      case 'pool': {
        const pool = this.#pool(question.pool)
        return { etag: etagOf(pool), body: sampler.pool(pool) }
      }
      case 'upstreams': {
        const pool = this.#pool(question.pool)
        const records = pool.upstreams.map((upstream) => sampler.find(pool, upstream)).filter((record) => record !== undefined)
        return { etag: etagOf(pool), body: { upstreams: [...records.map((record) => sampler.upstream(pool, record)), ...sampler.foreign(pool)] } }
      }
      case 'upstream': {
        const pool = this.#pool(question.pool)
        const upstream = pool.get(question.id)
        const record = upstream === undefined ? undefined : sampler.find(pool, upstream)
        if (upstream === undefined || record === undefined) throw new NotFoundError(`there is no upstream '${question.id}' in pool '${pool.name}'`)
        const { history } = upstream.health
        return { etag: etagOf(pool), body: { ...sampler.upstream(pool, record), history, series: sampler.upstreamSeries(pool, record) } }
      }
      case 'series':
        return { etag: '', body: sampler.series(question.pool === undefined ? undefined : this.#pool(question.pool)) }
      case 'events':
        return { etag: '', body: { events: this.events.after(question.after, question.limit) } }
      case 'join': {
        const past = this.events.after(question.after, 200).map((event) => sse('event', event, event.id)).join('')
        return { etag: '', body: `retry: 1000\n\n${sse('snapshot', this.#snapshot())}${past}` }
      }
      case 'change':
        return this.#change(question)
      case 'purge':
        return this.#purge(question)
    }
  }

  #pool (name: string): Pool {
    const pool = this.find(name)
    if (pool === undefined) throw new NotFoundError(`there is no pool '${name}'`)
    return pool
  }

  #snapshot (): Snapshot {
    return { ...this.sampler.snapshot(), version: this.#version, can: { purge: this.#cache !== undefined, change: this.#options.readOnly !== true } }
  }

  async #change ({ changes, ifMatch, dryRun, required, actor }: ChangeQuestion): Promise<Reply> {
    const planned = plan(changes, this.find, this.#routing())
    if (ifMatch !== undefined && !matches(ifMatch, planned.etag)) throw new ConflictError(planned.etag)
    if (dryRun) return { etag: '', body: planned }
    if (this.#options.readOnly === true) throw new UnavailableError('changes are switched off (readOnly)')
    if (ifMatch === undefined && required) throw new ConditionRequiredError()
    apply(changes, this.find, this.#routing(), actor, (change, error) => {
      if (error !== undefined) this.#app.log.error({ err: error, change }, 'an upstream could not be removed')
    })
    for (const difference of planned.diff) {
      const { pool, upstream, url } = difference
      this.events.add({ kind: 'audit', severity: 'info', pool, upstream, url, actor, text: said(difference) })
    }
    const touched = [...new Set(changes.flatMap((change) => isRouting(change) ? [] : [change.pool]))].map((name) => this.#pool(name))
    const etag = etagOfAll(touched, changes.some(isRouting) ? routingView(this.#routing()).etag : undefined)
    await this.#desk.changed(changes, actor)
    return { etag: '', body: { ...planned, etag } satisfies Plan }
  }

  async #purge ({ purge, actor }: Question & { what: 'purge' }): Promise<Reply> {
    const cache = this.#cache
    if (cache === undefined) throw new UnavailableError('there is no cache to purge: register @headgate/cache')
    if (this.#options.readOnly === true) throw new UnavailableError('changes are switched off (readOnly)')
    let count: number
    try {
      count = await cache.purge(purge)
    } catch (error) {
      throw new BadChangeError((error as Error).message)
    }
    this.events.add({ kind: 'purge', severity: 'info', actor, text: `cache purged (${describe(purge)}): ${count} ${count === 1 ? 'response' : 'responses'}` })
    return { etag: '', body: count }
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
      this.#desk.second()
    }, SECOND)
  }
}

/** A difference for people. */
function said ({ field, split, route, before, after }: Plan['diff'][number]): string {
  switch (field) {
    case 'member': return after === true ? 'added' : 'removal begun'
    case 'share': return `share of split ${split}: ${String(before)} → ${String(after)}`
    case 'maintenance': return `route ${route} ${after === true ? 'closed for maintenance' : 'open again'}`
    default: return `${field}: ${String(before)} → ${String(after)}`
  }
}

function describe (what: object): string {
  return Object.entries(what).map(([name, value]) => value === true ? name : `${name}: ${String(value)}`).join('; ')
}
