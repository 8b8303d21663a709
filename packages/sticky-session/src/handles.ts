import type { Pool } from '@headgate/core'
import type { Keyring } from './keyring.ts'

/**
 * The names under which clients carry a pool's upstreams: keyed, so that neither an address nor an id can be guessed from them,
 * and the same in every process that has the secrets. Members alone have one.
 */
export class Handles {
  readonly #pool: Pool
  readonly #namers: ((upstreamId: string) => string)[]
  #ids = new Map<string, string>()
  #handles = new Map<string, string>()

  constructor (pool: Pool, keyring: Keyring) {
    this.#pool = pool
    this.#namers = keyring.namers(pool.name)
    pool.on('added', this.#rebuild)
    pool.on('removed', this.#rebuild)
    this.#rebuild()
  }

  /** The handle of a member, by the current secret. */
  of (upstreamId: string): string {
    return this.#handles.get(upstreamId) ?? this.#namers[0]!(upstreamId)
  }

  /** Whose handle it is, by any of the secrets; `undefined` when no member has it. */
  find (handle: string): string | undefined {
    return this.#ids.get(handle)
  }

  readonly #rebuild = (): void => {
    const [current, ...older] = this.#namers
    const ids = this.#pool.upstreams.map(({ id }) => id)
    this.#handles = new Map(ids.map((id) => [id, current!(id)]))
    this.#ids = new Map([...older.flatMap((name) => ids.map((id) => [name(id), id] as const)), ...ids.map((id) => [current!(id), id] as const)])
  }
}
