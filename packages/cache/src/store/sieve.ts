import { List, type Eviction, type Place } from './eviction.ts'

/** SIEVE (Zhang et al., NSDI 2024): one queue, one bit, and a hand that spares what was used since it last passed. */
export class Sieve<T> implements Eviction<T> {
  readonly #queue: List<T> = new List()
  #hand: Place<T> | undefined

  insert (place: Place<T>): void {
    place.uses = 0
    this.#queue.push(place)
  }

  touch (place: Place<T>): void {
    place.uses = 1
  }

  remove (place: Place<T>): void {
    if (this.#hand === place) this.#hand = place.previous
    this.#queue.unlink(place)
  }

  resize (place: Place<T>, cost: number): void {
    this.#queue.resize(place, cost)
  }

  evict (): Place<T> | undefined {
    let place = this.#hand ?? this.#queue.tail
    while (place !== undefined && place.uses === 1) {
      place.uses = 0
      place = place.previous ?? this.#queue.tail
    }
    if (place === undefined) return undefined
    this.#hand = place.previous
    this.#queue.unlink(place)
    return place
  }
}
