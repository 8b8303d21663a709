/** A map of bounded size that forgets what was set longest ago. */
export class RecentMap<V> {
  readonly #values: Map<string, V> = new Map()
  readonly #max: number

  constructor (max: number) {
    this.#max = max
  }

  get size (): number { return this.#values.size }

  get (key: string): V | undefined {
    return this.#values.get(key)
  }

  values (): Iterable<V> {
    return this.#values.values()
  }

  set (key: string, value: V): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    if (this.#values.size > this.#max) this.#values.delete(this.#values.keys().next().value!)
  }

  delete (key: string): void {
    this.#values.delete(key)
  }
}
