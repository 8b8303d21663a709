/** A power of two. */
const PARTS = 256

/**
 * A Map of strings in parts. V8 lays a Map out anew when it has grown, or when as much was deleted as it holds: with a million entries
 * that stops everything for 100 ms and more, and with the 256th part of them nobody notices.
 */
export class KeyMap<V> {
  readonly #parts: readonly Map<string, V>[] = Array.from({ length: PARTS }, () => new Map<string, V>())

  get (key: string): V | undefined {
    return this.#parts[part(key)]!.get(key)
  }

  set (key: string, value: V): void {
    this.#parts[part(key)]!.set(key, value)
  }

  delete (key: string): void {
    this.#parts[part(key)]!.delete(key)
  }

  * values (): IterableIterator<V> {
    for (const part of this.#parts) yield * part.values()
  }
}

/** Out of at most 32 of its characters; keys that share a part cost what they would without parts. */
function part (key: string): number {
  const step = (key.length >> 5) + 1
  let hash = key.length
  for (let i = key.length - 1; i >= 0; i -= step) hash = Math.imul(hash, 31) + key.charCodeAt(i)
  return (hash ^ hash >>> 8) & PARTS - 1
}
