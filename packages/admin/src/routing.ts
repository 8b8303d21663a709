import { BadChangeError, NotFoundError } from './errors.ts'
import type { Change, Difference, RoutingView } from './model.ts'
import { digest } from './state.ts'

/** What `@headgate/balancer` offers, as far as it is needed here. */
export interface Routing {
  readonly splits: ReadonlyMap<string, {
    readonly weights: Readonly<Record<string, number>>
    /** Weights after a change, without making it; throws for one that cannot be. */
    plan (changes: Readonly<Record<string, number>>): Readonly<Record<string, number>>
    setWeights (changes: Readonly<Record<string, number>>): void
  }>
  readonly maintenance: {
    /** By prefix: is it closed? */
    readonly routes: Readonly<Record<string, boolean>>
    begin (...prefixes: string[]): void
    end (...prefixes: string[]): void
  }
}

export type RoutingChange = Change & { readonly op: 'split' | 'maintenance' }

export const isRouting = (change: Change): change is RoutingChange => change.op === 'split' || change.op === 'maintenance'

/** Shares and closed routes, with the etag that changes are conditional on. */
export function routingView (routing: Routing | undefined): RoutingView {
  const splits = Array.from(routing?.splits ?? [], ([name, { weights }]) => ({ name, weights: { ...weights } }))
  const routes = Object.entries(routing?.maintenance.routes ?? {}).map(([prefix, maintenance]) => ({ prefix, maintenance }))
  return { etag: digest({ splits, routes }), splits, routes }
}

/** Makes one change that {@link RoutingDraft} has accepted. */
export function applyRouting (change: RoutingChange, routing: Routing): void {
  if (change.op === 'split') routing.splits.get(change.split)!.setWeights(change.weights)
  else routing.maintenance[change.active ? 'begin' : 'end'](change.route)
}

/** Shares and closed routes as they would be after the changes so far. */
export class RoutingDraft {
  readonly #routing: Routing | undefined
  readonly #weights = new Map<string, Readonly<Record<string, number>>>()
  readonly #closed: Record<string, boolean>
  #touched = false

  constructor (routing: Routing | undefined) {
    this.#routing = routing
    this.#closed = { ...routing?.maintenance.routes }
  }

  /** Some change is about routing. */
  get touched (): boolean { return this.#touched }
  get etag (): string { return routingView(this.#routing).etag }

  /** Throws for what cannot be done. */
  take (change: RoutingChange, path: string): void {
    this.#touched = true
    if (change.op === 'maintenance') {
      if (this.#closed[change.route] === undefined) throw new NotFoundError(`there is no route '${change.route}'`)
      this.#closed[change.route] = change.active
      return
    }
    const split = this.#routing?.splits.get(change.split)
    if (split === undefined) throw new NotFoundError(`there is no split '${change.split}'`)
    try {
      this.#weights.set(change.split, split.plan({ ...this.#weights.get(change.split), ...change.weights }))
    } catch (error) {
      throw new BadChangeError(`${path}: ${(error as Error).message}`)
    }
  }

  get diff (): Difference[] {
    const nobody = { upstream: '', url: '', split: '', route: '' }
    const list: Difference[] = []
    for (const [split, weights] of this.#weights) {
      const before = this.#routing!.splits.get(split)!.weights
      for (const [pool, after] of Object.entries(weights)) {
        if (before[pool] !== after) list.push({ ...nobody, pool, split, field: 'share', before: before[pool]!, after })
      }
    }
    for (const [route, after] of Object.entries(this.#closed)) {
      const before = this.#routing!.maintenance.routes[route]!
      if (before !== after) list.push({ ...nobody, pool: '', route, field: 'maintenance', before, after })
    }
    return list
  }

  /** `ready`: how many upstreams of a pool can take requests. */
  warnings (ready: (pool: string) => number): string[] {
    const list = this.diff
      .filter(({ field, pool, before, after }) => field === 'share' && Number(after) > Number(before) && ready(pool) === 0)
      .map(({ pool, split }) => `nobody is ready in pool '${pool}', which would get more of split '${split}'`)
    const closed = Object.values(this.#closed)
    if (this.diff.some(({ field, after }) => field === 'maintenance' && after === true) && closed.every(Boolean)) list.push('all routes would be closed: every request would be answered 503')
    return list
  }
}
