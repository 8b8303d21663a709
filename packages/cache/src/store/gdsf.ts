import type { Eviction, Place } from './eviction.ts'

/**
 * GreedyDual-Size-Frequency (Cherkasova, 1998): keeps many small, often used ones; best object hit ratio, at the price of large
 * ones. A binary heap by priority = clock + uses / cost, where the clock is the priority of the last victim.
 */
export class Gdsf<T> implements Eviction<T> {
  readonly #heap: Place<T>[] = []
  #clock = 0

  insert (place: Place<T>): void {
    place.uses = 1
    place.priority = this.#clock + 1 / place.cost
    this.#heap.push(place)
    this.#up(this.#heap.length - 1)
  }

  touch (place: Place<T>): void {
    place.uses++
    place.priority = this.#clock + place.uses / place.cost
    this.#down(place.at)
  }

  remove (place: Place<T>): void {
    const { at } = place
    const last = this.#heap.pop()!
    if (last === place) return
    this.#set(at, last)
    this.#up(at)
    this.#down(last.at)
  }

  resize (place: Place<T>, cost: number): void {
    place.cost = cost
    place.priority = this.#clock + place.uses / cost
    this.#up(place.at)
    this.#down(place.at)
  }

  evict (): Place<T> | undefined {
    const place = this.#heap[0]
    if (place === undefined) return undefined
    this.#clock = place.priority
    this.remove(place)
    return place
  }

  #set (at: number, place: Place<T>): void {
    this.#heap[at] = place
    place.at = at
  }

  #up (from: number): void {
    let at = from
    const place = this.#heap[at]!
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (this.#heap[parent]!.priority <= place.priority) break
      this.#set(at, this.#heap[parent]!)
      at = parent
    }
    this.#set(at, place)
  }

  #down (from: number): void {
    let at = from
    const place = this.#heap[at]!
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#heap.length) break
      if (child + 1 < this.#heap.length && this.#heap[child + 1]!.priority < this.#heap[child]!.priority) child++
      if (this.#heap[child]!.priority >= place.priority) break
      this.#set(at, this.#heap[child]!)
      at = child
    }
    this.#set(at, place)
  }
}
