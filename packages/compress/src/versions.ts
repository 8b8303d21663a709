import type { FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'

/** What is to be kept as a version of an asset. */
export interface Kept {
  /** SHA-256 of the body, in base64. */
  readonly hash: string
  /** The app may write into it again. */
  readonly body: Buffer
  /** Fields of the response, flat: name, value … */
  readonly fields: readonly string[]
  /** What it is a version of; of its versions, the oldest goes when there are more than `most`. */
  readonly asset: string
  readonly most: number
}

/** Versions of the asset that a request is for. No method throws or rejects. */
export interface Versions {
  /** The body of this hash, where it is at hand. */
  peek (hash: string): Buffer | undefined
  /** The body of this hash, which the client says that it has. */
  get (hash: string): Buffer | undefined | Promise<Buffer | undefined>
  /** Keeps one, unless it is there or may not be kept. */
  put (kept: Kept): void
}

/** Where versions are kept: {@link OwnVersions}, or what `@headgate/cache` offers as `app.cache.dictionaries`. */
export interface VersionStore {
  /** To be called when the request comes: what is purged after that is not kept. */
  of (request: FastifyRequest): Versions | undefined
}

/** The store of the cache that is registered for the request's route; `undefined` without one. */
export function versionsOfCache ({ server }: FastifyRequest): VersionStore | undefined {
  const { dictionaries } = (server as { cache?: { dictionaries?: Partial<VersionStore> } } | undefined)?.cache ?? {}
  return typeof dictionaries?.of === 'function' ? dictionaries as VersionStore : undefined
}

const OVERHEAD = 1024

/** Versions in this plugin's own memory. */
export class OwnVersions implements VersionStore {
  readonly #bodies: LRUCache<string, Buffer>
  /** Keys of the last versions, by origin and asset. */
  readonly #recent = new LRUCache<string, string[]>({ max: 1024 })

  /** `maxBytes`: of all of them. */
  constructor (maxBytes: number) {
    this.#bodies = new LRUCache<string, Buffer>({ maxSize: maxBytes, sizeCalculation: ({ length }) => length + OVERHEAD })
  }

  of (request: FastifyRequest): Versions {
    const origin = `${request.protocol}://${request.host}`
    return {
      peek: (hash) => this.#bodies.peek(`${origin} ${hash}`),
      get: (hash) => this.#bodies.get(`${origin} ${hash}`),
      put: (kept) => { this.#put(origin, kept) }
    }
  }

  #put (origin: string, { hash, body, asset, most }: Kept): void {
    const key = `${origin} ${hash}`
    if (this.#bodies.get(key) !== undefined) return
    this.#bodies.set(key, Buffer.from(body))
    const list = this.#recent.get(`${origin} ${asset}`) ?? []
    list.push(key)
    while (list.length > most) this.#bodies.delete(list.shift()!)
    this.#recent.set(`${origin} ${asset}`, list)
  }
}
