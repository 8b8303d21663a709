import { type Routing, type RoutingChange, applyRouting } from './routing.ts'

/** What was changed, and what the configuration said: with another one, what operators said is void. */
export interface AllRoutingOverrides {
  readonly splits: Readonly<Record<string, { readonly base: Readonly<Record<string, number>>; readonly weights: Readonly<Record<string, number>> }>>
  readonly routes: Readonly<Record<string, { readonly base: boolean; readonly active: boolean }>>
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Keeps which shares and routes operators changed, and makes this worker's follow what was changed elsewhere. */
export class RoutingOverrides {
  readonly #routing: () => Routing | undefined
  readonly #failed: (error: unknown) => void
  readonly #baseWeights = new Map<string, Readonly<Record<string, number>>>()
  #baseRoutes: Readonly<Record<string, boolean>> = {}
  #now: AllRoutingOverrides = { splits: {}, routes: {} }

  constructor (routing: () => Routing | undefined, failed: (error: unknown) => void) {
    this.#routing = routing
    this.#failed = failed
  }

  /** All is as the configuration has it. */
  begin (): void {
    const routing = this.#routing()
    for (const [name, { weights }] of routing?.splits ?? []) this.#baseWeights.set(name, weights)
    this.#baseRoutes = { ...routing?.maintenance.routes }
  }

  /** Takes down changes that were made here. */
  made (changes: readonly RoutingChange[]): AllRoutingOverrides {
    const routing = this.#routing()!
    const splits = { ...this.#now.splits }
    const routes = { ...this.#now.routes }
    for (const change of changes) {
      if (change.op === 'split') {
        splits[change.split] = { base: this.#baseWeights.get(change.split)!, weights: routing.splits.get(change.split)!.weights }
      } else {
        routes[change.route] = { base: this.#baseRoutes[change.route]!, active: change.active }
      }
    }
    return this.#now = { splits, routes }
  }

  /** Does what was changed elsewhere. */
  follow (all: AllRoutingOverrides): void {
    this.#now = all
    const routing = this.#routing()
    if (routing === undefined) return
    for (const [split, { base, weights }] of Object.entries(all.splits)) {
      const found = routing.splits.get(split)
      if (found !== undefined && same(base, this.#baseWeights.get(split)) && !same(weights, found.weights)) this.#apply(routing, { op: 'split', split, weights })
    }
    for (const [route, { base, active }] of Object.entries(all.routes)) {
      if (base === this.#baseRoutes[route] && routing.maintenance.routes[route] !== active) this.#apply(routing, { op: 'maintenance', route, active })
    }
  }

  #apply (routing: Routing, change: RoutingChange): void {
    try {
      applyRouting(change, routing)
    } catch (error) {
      this.#failed(error)
    }
  }
}
