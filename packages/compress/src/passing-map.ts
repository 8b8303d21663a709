/** Entries after which the map is made anew, at least. */
const RENEWED = 1024

/**
 * A Map through which much passes. V8 gives a Map a new table every few dozen changes, and the one that is left points to its successor: once one of
 * them has got into the old generation, each collection of the young one keeps all tables after it and what was in them when they were
 * left, bodies in work as an example, until the whole heap is marked. So the map is replaced before the chain gets long.
 */
export class PassingMap<K, V> {
  #map: Map<K, V> = new Map()
  #set = 0

  get (key: K): V | undefined {
    return this.#map.get(key)
  }

  set (key: K, value: V): void {
    if (++this.#set >= RENEWED && this.#set >= 4 * this.#map.size) {
      this.#set = 0
      this.#map = new Map(this.#map)
    }
    this.#map.set(key, value)
  }

  delete (key: K): void {
    this.#map.delete(key)
  }
}
