import type { Entry } from '../../entry.ts'

/** New ones at most, among which those that are used once pass by the others. */
const YOUNG = 256
/** Candidates looked at in one go. */
const TRIES = 16

/** All entries of a key, as objects. The lists are made anew, so that one handed out does not change under its reader. */
export class Hot {
  readonly key: string
  entries: readonly Entry[]
  /** Of the first entry, as most keys have one, and of the others. */
  #slot: number
  #more: readonly number[] | undefined
  /** Its number, as the slots keep it: by those it is found. */
  number = 0
  uses = 0
  old = false
  previous: Hot | undefined
  next: Hot | undefined

  constructor (key: string, entries: readonly Entry[], slots: readonly number[]) {
    this.key = key
    this.entries = entries
    this.#slot = slots[0]!
    this.#more = slots.length === 1 ? undefined : slots.slice(1)
  }

  slot (at: number): number {
    return at === 0 ? this.#slot : this.#more![at - 1]!
  }

  /** The slot of an entry, told by its id where it is another object; −1 without one. */
  slotOf (entry: Entry): number {
    let at = this.entries.indexOf(entry)
    if (at === -1) at = this.entries.findIndex(({ id }) => id === entry.id)
    return at === -1 ? -1 : this.slot(at)
  }

  entry (slot: number): Entry {
    return this.entries[this.#at(slot)]!
  }

  add (entry: Entry, slot: number): void {
    this.entries = [...this.entries, entry]
    this.#more = [...this.#more ?? [], slot]
  }

  remove (slot: number): void {
    const at = this.#at(slot)
    const slots = [this.#slot, ...this.#more ?? []].toSpliced(at, 1)
    this.entries = this.entries.toSpliced(at, 1)
    this.#slot = slots[0] ?? -1
    this.#more = slots.length > 1 ? slots.slice(1) : undefined
  }

  #at (slot: number): number {
    return slot === this.#slot ? 0 : 1 + this.#more!.indexOf(slot)
  }
}

class Queue {
  head: Hot | undefined
  tail: Hot | undefined
  length = 0

  push (hot: Hot): void {
    hot.previous = undefined
    hot.next = this.head
    if (this.head !== undefined) this.head.previous = hot
    this.head = hot
    this.tail ??= hot
    this.length++
  }

  unlink (hot: Hot): void {
    if (hot.previous === undefined) this.head = hot.next
    else hot.previous.next = hot.next
    if (hot.next === undefined) this.tail = hot.previous
    else hot.next.previous = hot.previous
    hot.previous = hot.next = undefined
    this.length--
  }
}

/**
 * Keys whose entries are objects, in the order in which they cease to be: those that came and were not used twice soon after first, then those that were
 * not used for a round.
 */
export class HotSet {
  readonly #young: Queue = new Queue()
  readonly #old: Queue = new Queue()

  add (hot: Hot): void {
    this.#young.push(hot)
  }

  remove (hot: Hot): void {
    this.#queue(hot).unlink(hot)
  }

  /** Are there more new ones than it takes to see which are used again? */
  get isCrowded (): boolean { return this.#young.length > YOUNG }

  /**
   * Who is to go next; the one that came last is not. `stays` says of whom it cannot be, `aged` is told of those that are here for longer. `undefined` when
   * none is found soon.
   */
  coldest (stays: (hot: Hot) => boolean, aged: (hot: Hot) => void): Hot | undefined {
    const [young, old] = [this.#young, this.#old]
    for (let tries = 0; tries < TRIES; tries++) {
      const fromYoung = young.length > 1 && (old.tail === undefined || young.length > YOUNG || young.length > old.length / 3)
      const hot = fromYoung ? young.tail : old.tail
      if (hot === undefined) return undefined
      if (hot.uses <= (fromYoung ? 1 : 0) && !stays(hot)) return hot
      this.#queue(hot).unlink(hot)
      hot.uses = 0
      if (fromYoung) aged(hot)
      hot.old = true
      old.push(hot)
    }
    return undefined
  }

  #queue ({ old }: Hot): Queue {
    return old ? this.#old : this.#young
  }
}
