/** One entry's place in an eviction policy: a link of its lists, and what it counts. */
export class Place<T> {
  readonly value: T
  readonly hash: string
  cost: number
  /** Uses seen, as far as the policy counts. */
  uses = 0
  priority = 0
  /** Where it is in a heap. */
  at = 0
  main = false
  previous: Place<T> | undefined
  next: Place<T> | undefined

  constructor (value: T, hash: string, cost: number) {
    this.value = value
    this.hash = hash
    this.cost = cost
  }
}

/** Decides who goes when a store is full. Costs are bytes. */
export interface Eviction<T> {
  insert (place: Place<T>): void
  /** Hot: called for each hit. */
  touch (place: Place<T>): void
  remove (place: Place<T>): void
  /** It costs something else now. */
  resize (place: Place<T>, cost: number): void
  /** Takes the next victim out; `undefined` when nothing is left. */
  evict (): Place<T> | undefined
}

/** Doubly linked list: newest at the head. */
export class List<T> {
  head: Place<T> | undefined
  tail: Place<T> | undefined
  cost = 0

  push (place: Place<T>): void {
    place.previous = undefined
    place.next = this.head
    if (this.head !== undefined) this.head.previous = place
    this.head = place
    this.tail ??= place
    this.cost += place.cost
  }

  unlink (place: Place<T>): void {
    if (place.previous === undefined) this.head = place.next
    else place.previous.next = place.next
    if (place.next === undefined) this.tail = place.previous
    else place.next.previous = place.previous
    place.previous = place.next = undefined
    this.cost -= place.cost
  }

  resize (place: Place<T>, cost: number): void {
    this.cost += cost - place.cost
    place.cost = cost
  }
}
