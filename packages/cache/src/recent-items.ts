/** The latest items under a bound of their number and of their cost; who is too much for them goes, oldest first. */
export class RecentItems<T> {
  readonly #items: (T | undefined)[]
  readonly #costs: Float64Array
  readonly #maxCost: number
  readonly #dropped: (item: T) => void
  #oldest = 0
  #count = 0
  #cost = 0

  constructor (max: number, maxCost: number, dropped: (item: T) => void) {
    this.#items = Array.from({ length: max }, () => undefined)
    this.#costs = new Float64Array(max)
    this.#maxCost = maxCost
    this.#dropped = dropped
  }

  add (item: T, cost: number): void {
    while (this.#count > 0 && (this.#count === this.#items.length || this.#cost + cost > this.#maxCost)) this.#drop()
    const place = (this.#oldest + this.#count) % this.#items.length
    this.#items[place] = item
    this.#costs[place] = cost
    this.#count++
    this.#cost += cost
  }

  #drop (): void {
    const place = this.#oldest
    const item = this.#items[place]!
    this.#items[place] = undefined
    this.#cost -= this.#costs[place]!
    this.#oldest = (place + 1) % this.#items.length
    this.#count--
    this.#dropped(item)
  }
}
