import { hash32 } from '@headgate/core'
import type { FastifyRequest } from 'fastify'
import { InvalidSplitError } from '../errors.ts'

/** Where a split may send a request, and how much of all it gets. */
interface Branch<T> {
  readonly name: string
  readonly seed: number
  readonly target: T
  weight: number
}

/** Share of each pool; what is not named keeps its own. */
export type Weights = Readonly<Record<string, number>>

/**
 * Shares requests among targets by weight, so that one key always goes to the same one: weighted rendezvous hashing (Thaler and
 * Ravishankar, 1998; weights after Schindelhauer and Schomaker, 2005). A change of weights moves only the keys that it has to: a
 * canary that grows from 5 to 10 per cent keeps the clients that it had.
 */
export class Split<T = unknown> {
  readonly name: string
  readonly #branches: Branch<T>[]
  readonly #keyOf: ((request: FastifyRequest) => string) | undefined
  readonly #random: () => number
  #total: number

  /** Without `keyOf` each request is a draw of its own. */
  constructor (
    name: string, targets: readonly (readonly [name: string, weight: number, target: T])[], keyOf: ((request: FastifyRequest) => string) | undefined,
    random: () => number
  ) {
    this.name = name
    this.#branches = targets.map(([branch, weight, target]) => ({ name: branch, seed: hash32(branch), weight, target }))
    this.#keyOf = keyOf
    this.#random = random
    this.#total = check(name, this.weights)
  }

  /** The weights as they are now. */
  get weights (): Record<string, number> {
    return Object.fromEntries(this.#branches.map(({ name, weight }) => [name, weight]))
  }

  /** Weights after a change, without making it. Throws `HG_BALANCER_INVALID_SPLIT`. */
  plan (changes: Weights): Record<string, number> {
    const { weights } = this
    for (const [name, weight] of Object.entries(changes)) {
      if (!Object.hasOwn(weights, name)) throw new InvalidSplitError(this.name, `has no pool '${name}'; it has ${Object.keys(weights).join(', ')}`)
      weights[name] = weight
    }
    check(this.name, weights)
    return weights
  }

  /** Changes weights at once; 0: no new work. Throws `HG_BALANCER_INVALID_SPLIT`, and then changes nothing. */
  setWeights (changes: Weights): void {
    const weights = this.plan(changes)
    for (const branch of this.#branches) branch.weight = weights[branch.name]!
    this.#total = check(this.name, weights)
  }

  choose (request: FastifyRequest): T {
    return this.#keyOf === undefined ? this.#draw() : this.choiceFor(this.#keyOf(request))
  }

  /** Where `key` goes. */
  choiceFor (key: string): T {
    let best: Branch<T> | undefined
    let least = Infinity
    for (const branch of this.#branches) {
      if (branch.weight === 0) continue
      // Uniform in (0, 1): −ln of it, over the weight, is exponential, and the least of those falls to each by its share.
      const score = -Math.log((hash32(key, branch.seed) + 0.5) / 0x1_0000_0000) / branch.weight
      if (best === undefined || score < least) {
        best = branch
        least = score
      }
    }
    return best!.target
  }

  #draw (): T {
    let at = this.#random() * this.#total
    let last: Branch<T> | undefined
    for (const branch of this.#branches) {
      if (branch.weight === 0) continue
      last = branch
      at -= branch.weight
      if (at < 0) break
    }
    return last!.target
  }
}

/** The sum of the weights. */
function check (split: string, weights: Weights): number {
  let total = 0
  for (const [name, weight] of Object.entries(weights)) {
    if (typeof weight !== 'number' || !(weight >= 0) || !Number.isFinite(weight)) throw new InvalidSplitError(split, `needs a weight of 0 or more for '${name}', not ${String(weight)}`)
    total += weight
  }
  if (!(total > 0) || !Number.isFinite(total)) throw new InvalidSplitError(split, 'needs a weight above 0')
  return total
}
