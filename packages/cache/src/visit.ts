import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Timer } from './clock.ts'
import { acceptedOnError, decide, type Forward, reusableAtOnce, selects } from './decide.ts'
import type { Engine } from './engine.ts'
import type { Entry } from './entry.ts'
import type { Flight, Outcome, Passenger } from './flight/flight.ts'
import type { Route } from './route.ts'
import { isMeant } from './ruled.ts'
import { Scope } from './scope.ts'
import { rangeOf } from './semantics/as-get.ts'
import type { RequestDirectives } from './semantics/cache-control.ts'
import type { Where } from './where.ts'

/** A request that the store could not answer at once: it waits for a flight, its own or another's. */
export class Visit implements Passenger {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly route: Route
  readonly where: Where
  readonly directives: RequestDirectives
  readonly forward: Forward
  /** Stale response that it may come back to. */
  readonly entry: Entry | undefined
  /** Also where nobody looks at the response: who gets nothing of another's fetch has the route's handler run, which may look. */
  readonly scope: Scope = new Scope()
  /** It was sent back once: no validators, no completion of parts this time. */
  plain = false
  /** Flight whose head it waits for. */
  #flight: Flight | undefined
  /** Flight whose body it gets. */
  #source: Flight | undefined
  #timer: Timer
  #slowTimer: Timer
  #stop: (() => void) | undefined
  readonly #engine: Engine

  constructor (
    engine: Engine, request: FastifyRequest, reply: FastifyReply, route: Route, where: Where, directives: RequestDirectives, forward: Forward,
    entry: Entry | undefined
  ) {
    this.#engine = engine
    this.request = request
    this.reply = reply
    this.route = route
    this.where = where
    this.directives = directives
    this.forward = forward
    this.entry = entry
    reply.raw.on('close', this.#onClose)
  }

  /** Waits for a flight's head; after `ms` milliseconds `late` is called instead (0: never). */
  wait (flight: Flight, ms: number, late: () => void): void {
    this.#flight = flight
    flight.join(this)
    if (ms > 0 && ms !== Number.POSITIVE_INFINITY) {
      this.#timer = this.#engine.clock.setTimeout(() => {
        this.#leave()
        late()
      }, ms)
    }
  }

  /** Calls `late` when nothing has come after `ms` milliseconds; the flight goes on without this request. */
  deadline (ms: number, late: () => void): void {
    if (this.#flight === undefined || ms === Number.POSITIVE_INFINITY) return
    this.#slowTimer = this.#engine.clock.setTimeout(() => {
      if (this.#flight !== undefined) this.#flight.kept = true
      this.#leave()
      late()
    }, ms)
  }

  settled (flight: Flight, outcome: Outcome): void {
    this.scope.runInAsyncScope(this.#settled, this, flight, outcome)
  }

  #settled (flight: Flight, outcome: Outcome): void {
    this.#settle()
    const engine = this.#engine
    const leads = flight.leader === this
    if (leads) engine.handBack(flight, this)
    switch (outcome.kind) {
      case 'entry':
        if (!leads && !this.#isMeant(outcome.entry)) return this.#pass('no-reuse')
        // Another variant's validation says nothing about ours.
        if (!leads && !selects(outcome.entry, this.request.headers)) return engine.again(this)
        if (!leads && outcome.detail === 'revalidated' && !reusableAtOnce(outcome.entry, flight.plan.requestTime)) return this.#pass('no-reuse')
        return engine.answerEntry(this, outcome.entry, outcome.detail, flight.status, !leads)
      case 'again':
        this.plain ||= leads && outcome.plain
        return engine.again(this)
      case 'failed':
        if (leads) this.reply.raw.destroy()
        else this.#pass('collapse-failed')
        return
      case 'stream':
        if (leads) break
        if (!outcome.shared) return this.#pass(flight.refusal)
        if (!this.#isMeant(flight.entry!)) return this.#pass('no-reuse')
        if (!selects(flight.entry!, this.request.headers)) return engine.again(this)
        if (!reusableAtOnce(flight.entry!, flight.plan.requestTime)) return this.#pass('no-reuse')
    }
    this.#source = flight
    this.#stop = engine.answerStream(this, flight, !leads)
  }

  /** May a response that is still coming answer this request, as it might from the store? */
  mayUse (entry: Entry): boolean {
    const { headers } = this.request
    return this.#isMeant(entry) && selects(entry, headers) && decide([entry], headers, rangeOf(this.request), this.directives, this.#engine.clock.now()).use !== 'none'
  }

  accepts (stale: Entry): boolean {
    return acceptedOnError(stale, this.directives, this.#engine.clock.now())
  }

  interim (status: number, headers: Record<string, string | string[]>): void {
    const { raw } = this.reply
    if (raw.headersSent || raw.destroyed) return
    if (status === 103) raw.writeEarlyHints(headers)
    else if (status === 102) raw.writeProcessing()
  }

  /** The response that it waits for may have withdrawn the No-Vary-Search that brought them together. */
  #isMeant (entry: Entry): boolean {
    return isMeant(entry, this.request, this.where, this.route.settings.key, undefined)
  }

  #pass (detail: string): void {
    this.#engine.pass(this.request, this.reply, this.route, this.forward, detail)
  }

  #settle (): void {
    if (this.#timer !== undefined) this.#engine.clock.clearTimeout(this.#timer)
    if (this.#slowTimer !== undefined) this.#engine.clock.clearTimeout(this.#slowTimer)
    this.#timer = this.#slowTimer = undefined
    this.#flight = undefined
  }

  /** Stops waiting; a flight that nobody waits for any more, and that is not stored, ends. */
  #leave (): void {
    const flight = this.#flight
    this.#settle()
    if (flight === undefined) return
    flight.leave(this)
    if (flight.leader === this) flight.leader = undefined
  }

  readonly #onClose = (): void => {
    const flight = this.#flight ?? this.#source
    this.#leave()
    this.#stop?.()
    this.#stop = this.#source = undefined
    if (flight !== undefined) this.#engine.left(flight)
  }
}
