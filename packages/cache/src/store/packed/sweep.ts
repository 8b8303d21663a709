import { concerns } from '../../concern.ts'
import type { Entry } from '../../entry.ts'
import type { Concern } from '../contract.ts'

/**
 * Something that is to happen to all that were stored when it began, and happens bit by bit. Whoever is given an entry before its turn has to do it to
 * that one first.
 */
export class Sweep {
  /** Beginnings of URLs, when it is about those. */
  readonly prefixes: readonly string[] | undefined
  readonly #concerned: (entry: Entry) => boolean
  readonly #apply: (entry: Entry) => void
  /** Slots whose entries have had it, or came later. */
  readonly #done: Set<number> = new Set()
  /** The next slot. */
  at = 0
  count = 0
  ended: (() => void) | undefined

  constructor (concern: Concern, apply: (entry: Entry) => void) {
    this.prefixes = concern.by === 'prefix' ? concern.names : undefined
    this.#concerned = concerns(concern)
    this.#apply = apply
  }

  isDone (slot: number): boolean {
    return this.#done.has(slot)
  }

  spare (slot: number): void {
    if (slot >= this.at) this.#done.add(slot)
  }

  /** True when it was concerned. */
  visit (entry: Entry): boolean {
    if (!this.#concerned(entry)) return false
    this.count++
    this.#apply(entry)
    return true
  }
}
