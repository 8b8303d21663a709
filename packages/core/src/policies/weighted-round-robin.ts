import type { Environment } from '../clock.ts'
import type { Random } from '../random.ts'
import type { Candidate, PickContext, Policy, Selector } from './contract.ts'
import { SlotHeap } from './heap.ts'
import { highestSlot } from './slots.ts'

/**
 * Earliest deadline first: every upstream has a deadline in virtual time, the earliest is picked and moves on by 1 / weight.
 * So each one's turns are evenly spaced, a pick costs O(log n), and a change of the ready set or of a weight keeps everybody
 * else's place: restarting the sequence instead would starve the end of the list when changes are frequent.
 */
export class EarliestDeadline<T extends Candidate> implements Selector<T> {
  protected readonly heap: SlotHeap = new SlotHeap()
  protected ready: readonly T[] = []
  /** By slot; entries of others than the ready ones are stale. */
  protected readonly bySlot: (T | undefined)[] = []
  /** By slot: what its next turn was computed with; 0 for one that has no turn yet. */
  protected readonly spacings: number[] = []
  /** Virtual time: the deadline of the last pick. */
  protected now = 0
  readonly #random: Random

  constructor (environment: Environment) {
    this.#random = environment.random
  }

  rebuild (ready: readonly T[]): void {
    const first = this.ready.length === 0
    this.ready = ready
    this.heap.reach(highestSlot(ready))
    if (first) this.#interleave(ready)
    for (const candidate of ready) {
      const { slot } = candidate
      const spacing = this.spacing(candidate)
      const known = this.bySlot[slot] === candidate ? this.spacings[slot]! : 0
      const wait = this.heap.key[slot]! - this.now
      this.bySlot[slot] = candidate
      if (known > 0 && wait >= 0) {
        // Progress towards the next turn is kept as a share of it: a raised weight shortens the present wait, too.
        if (known !== spacing) this.heap.key[slot] = this.now + wait * spacing / known
      } else if (known === 0 || wait < 0) {
        // New, or back after its turn had passed: anywhere in its period, so that many who come together do not burst.
        if (!first) this.heap.key[slot] = this.now + this.#random() * spacing
      }
      this.spacings[slot] = spacing
    }
    this.heap.fill(ready)
  }

  select (_context: PickContext): T {
    return this.take(this.bySlot[this.heap.top]!)
  }

  alternative (_context: PickContext, usable: (candidate: T) => boolean): T | undefined {
    let best: T | undefined
    for (const candidate of this.ready) {
      if ((best === undefined || this.heap.key[candidate.slot]! < this.heap.key[best.slot]!) && usable(candidate)) best = candidate
    }
    return best === undefined ? undefined : this.take(best)
  }

  left (candidate: T): void {
    if (this.bySlot[candidate.slot] !== candidate) return
    this.bySlot[candidate.slot] = undefined
    this.spacings[candidate.slot] = 0
  }

  /** Virtual time between two turns of `candidate`. */
  protected spacing (candidate: T): number { return 1 / candidate.weight }

  /** Gives `candidate` its turn. */
  protected take (candidate: T): T {
    const { slot } = candidate
    const { key } = this.heap
    const spacing = this.spacing(candidate)
    // The earliest deadline is the virtual time; an alternative's is ahead of it and must not drag it along.
    const deadline = key[slot]!
    if (slot === this.heap.top) this.now = deadline
    this.spacings[slot] = spacing
    key[slot] = deadline + spacing
    this.heap.update(slot)
    return candidate
  }

  /**
   * First deadlines: upstreams of like weight (same power of two) spread evenly over their period in configured order. With
   * all of them at the same phase, one of weight 50 beside fifty of weight 1 would get its turns in bursts of 50. The common
   * random offset keeps proxies that start together from walking in step.
   */
  #interleave (ready: readonly T[]): void {
    const offset = this.#random()
    const sizes = new Map<number, number>()
    const classOf = (candidate: T): number => Math.floor(Math.log2(this.spacing(candidate)))
    for (const candidate of ready) sizes.set(classOf(candidate), (sizes.get(classOf(candidate)) ?? 0) + 1)
    const turns = new Map<number, number>()
    for (const candidate of ready) {
      const like = classOf(candidate)
      const turn = turns.get(like) ?? 0
      turns.set(like, turn + 1)
      this.heap.key[candidate.slot] = this.now + ((turn + 0.5) / sizes.get(like)! + offset) % 1 * this.spacing(candidate)
    }
  }
}

/** Smooth weighted round robin: turns in proportion to weights, evenly spaced. */
export const weightedRoundRobin: Policy = {
  name: 'weighted-round-robin',
  describe: 'Turns in proportion to weights, evenly spaced: never a burst on the heaviest.',
  create: <T extends Candidate> (environment: Environment) => new EarliestDeadline<T>(environment)
}
