import { randomUUID } from 'node:crypto'
import type { Pool } from '@headgate/core'
import type { Draft, EventLog } from './events.ts'
import type { Change, EventView, Point, SeriesView } from './model.ts'
import { type AllOverrides, type FindPool, Overrides } from './overrides.ts'
import type { Part } from './parts.ts'
import type { Question, Reply } from './questions.ts'
import { type Routing, isRouting } from './routing.ts'
import { type AllRoutingOverrides, RoutingOverrides } from './routing-overrides.ts'
import type { Sampler } from './sampler.ts'
import type { AdminSharing } from './sharing.ts'
import { type Audience, sse } from './stream.ts'

const topics = {
  question: 'admin.question', part: 'admin.part', event: 'admin.event', seen: 'admin.seen', second: 'admin.second', past: 'admin.past',
  overrides: 'admin.overrides', routing: 'admin.routing'
} as const

/** What the one that speaks tells all others every second. `tick`: for those who watch. */
interface Second {
  readonly at: number
  readonly points: Readonly<Record<string, Point>>
  readonly tick?: string
}

interface Past {
  readonly events: readonly EventView[]
  readonly series: Readonly<Record<string, SeriesView>>
}

export interface DeskOptions {
  readonly sharing: AdminSharing | undefined
  readonly sampler: Sampler
  readonly events: EventLog
  readonly audience: Audience
  readonly find: FindPool
  readonly routing: () => Routing | undefined
  /** Answers from what is known here. */
  answer (question: Question): Reply | Promise<Reply>
  /** A change that was made elsewhere could not be made here. */
  failed (error: unknown, pool: string, id: string): void
}

/**
 * Where questions go: to this worker, or to the one that speaks for all. That one asks the others for their figures, makes all changes, one
 * after the other, and has the others follow; so plans and etags hold whoever is asked.
 */
export class Desk {
  readonly #options: DeskOptions
  readonly #overrides: Overrides
  readonly #routing: RoutingOverrides
  /** Names this worker's time as the one that speaks: others tell it everything anew. */
  readonly #term: string = randomUUID()
  readonly #offs: (() => void)[] = []
  /** Whose parts were told last. */
  #told = ''
  /** It has spoken: its records hold what others counted. */
  #spoke = false
  #begun = false
  /** What happened before it was known who numbers it. */
  readonly #early: Draft[] = []
  /** Streams of other workers have begun since the last second. */
  #joined = false

  constructor (options: DeskOptions) {
    this.#options = options
    this.#overrides = new Overrides(options.find, options.failed)
    this.#routing = new RoutingOverrides(options.routing, (error) => { options.failed(error, '', '') })
    if (options.sharing === undefined) return
    options.events.shared = true
    options.events.elsewhere = (draft) => { this.#early.push(draft) }
  }

  get #speaks (): boolean { return this.#options.sharing?.speaks !== false }

  async begin (pools: Iterable<Pool>): Promise<void> {
    const { sharing, events, sampler } = this.#options
    this.#overrides.begin(pools)
    this.#routing.begin()
    if (sharing === undefined) return
    await sharing.ready
    this.#listen(sharing)
    this.#turn()
    const changed = sharing.kept(topics.overrides)
    if (changed !== undefined) this.#overrides.follow(changed as AllOverrides)
    const routed = sharing.kept(topics.routing)
    if (routed !== undefined) this.#routing.follow(routed as AllRoutingOverrides)
    if (!sharing.speaks) {
      // Without one who could tell there is no past.
      const past = await sharing.ask('speaker', topics.past, null).catch(() => undefined) as Past | undefined
      for (const event of past?.events ?? []) events.take(event)
      if (past !== undefined) sampler.remember(past.series)
    }
    this.#begun = true
  }

  stop (): void {
    for (const off of this.#offs.splice(0)) off()
  }

  async ask (question: Question): Promise<Reply> {
    const { sharing, answer } = this.#options
    if (sharing === undefined) return answer(question)
    if (sharing.speaks) return this.#answer(question)
    try {
      return await sharing.ask('speaker', topics.question, question) as Reply
    } catch (error) {
      // It has gone; the next one is there at once. A change may have been made: whoever asked for it has to look.
      if ((error as { code?: string }).code !== 'HG_WORKERS_NOBODY' || question.what === 'change' || question.what === 'purge') throw error
      return sharing.speaks ? this.#answer(question) : await sharing.ask('speaker', topics.question, question) as Reply
    }
  }

  /** Changes were made here: resolves when all others have made them. */
  async changed (changes: readonly Change[], by: string): Promise<void> {
    const { sharing } = this.#options
    if (sharing === undefined) return
    const routed = changes.filter(isRouting)
    const rest = changes.filter((change) => !isRouting(change))
    await Promise.all([
      rest.length > 0 && sharing.keep(topics.overrides, this.#overrides.made(rest, by)),
      routed.length > 0 && sharing.keep(topics.routing, this.#routing.made(routed))
    ])
  }

  /** An event got its number here. */
  said (event: EventView): void {
    this.#options.sharing?.tell('others', topics.event, event)
  }

  second (): void {
    const { sharing, sampler, audience } = this.#options
    if (!this.#speaks) return sampler.follow()
    if (sharing !== undefined) void this.#collect(sharing)
    const tick = sampler.step()
    const watched = audience.size > 0 || sampler.watched || this.#joined
    const text = watched ? sse('tick', tick) : ''
    if (audience.size > 0) audience.send(text)
    this.#joined = false
    sharing?.tell('others', topics.second, { at: tick.at, points: tick.points, ...watched && { tick: text } } satisfies Second)
  }

  async #answer (question: Question): Promise<Reply> {
    const { sharing, answer } = this.#options
    const { what } = question
    if (what === 'join') this.#joined = true
    if (sharing !== undefined && (what === 'pools' || what === 'pool' || what === 'upstreams' || what === 'upstream' || what === 'join')) await this.#collect(sharing)
    return answer(question)
  }

  /** Takes the figures of all others. */
  async #collect (sharing: AdminSharing): Promise<void> {
    const { answers } = await sharing.gather(topics.part, { term: this.#term })
    for (const { from, data } of answers) this.#options.sampler.take(from, data as Part)
  }

  #listen (sharing: AdminSharing): void {
    const { sampler, events, audience } = this.#options
    const on = (topic: string, handler: (data: never, from: number) => unknown): void => { this.#offs.push(sharing.on(topic, handler)) }
    on(topics.question, (question: Question) => this.#answer(question))
    on(topics.part, ({ term }: { term: string }) => {
      const anew = term !== this.#told
      this.#told = term
      return sampler.part(anew, audience.size > 0, !this.#spoke)
    })
    on(topics.event, (event: EventView) => {
      // The past comes with it.
      if (!this.#begun) return
      events.take(event)
      if (audience.size > 0) audience.send(sse('event', event, event.id))
    })
    on(topics.seen, (draft: Draft) => { events.addSeen(draft) })
    on(topics.second, ({ at, points, tick }: Second) => {
      if (!this.#begun) return
      sampler.points(at, points)
      if (tick !== undefined && audience.size > 0) audience.send(tick)
    })
    on(topics.past, (): Past => ({ events: events.after(0, 1000), series: sampler.past() }))
    on(topics.overrides, (all: AllOverrides) => { this.#overrides.follow(all) })
    on(topics.routing, (all: AllRoutingOverrides) => { this.#routing.follow(all) })
    on('speaker', () => { this.#turn() })
    on('left', (worker: number) => { sampler.left(worker) })
  }

  /** It speaks from now on, or it does not. */
  #turn (): void {
    const { sharing, events } = this.#options
    if (this.#speaks) this.#spoke = true
    events.elsewhere = this.#speaks ? undefined : (draft) => { sharing!.tell('speaker', topics.seen, draft) }
    for (const draft of this.#early.splice(0)) events.addSeen(draft)
  }
}
