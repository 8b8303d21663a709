/** Objects of which some slots have one: a slot keeps a number instead. 0 is nobody's. */
export class Shelf<T> {
  readonly #things: (T | undefined)[] = [undefined]
  readonly #free: number[] = []

  put (thing: T): number {
    const number = this.#free.pop() ?? this.#things.length
    this.#things[number] = thing
    return number
  }

  get (number: number): T | undefined {
    return this.#things[number]
  }

  take (number: number): void {
    this.#things[number] = undefined
    this.#free.push(number)
  }

  /** Those that are taken on the way are left out. */
  * values (): IterableIterator<T> {
    for (const thing of this.#things) if (thing !== undefined) yield thing
  }
}
