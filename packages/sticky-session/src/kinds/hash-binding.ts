import type { FastifyRequest } from 'fastify'
import { hash32, mix32, type Pool, type Upstream } from '@headgate/core'
import type { Binding, CommonOptions, Session } from '../contract.ts'

interface Member {
  readonly upstream: Upstream
  readonly first: number
  readonly second: number
}

/**
 * The key alone says where a client belongs, by weighted rendezvous hashing (Thaler & Ravishankar 1998; weights by Schindelhauer
 * & Schomaker 2005): nothing is stored, every process says the same, and a member that comes or goes moves its own share only.
 */
export class HashBinding implements Binding {
  readonly #keyOf: (request: FastifyRequest) => string | undefined
  readonly #pool: Pool
  readonly #strict: boolean
  readonly #keep: boolean
  #members: Member[] = []

  constructor (keyOf: (request: FastifyRequest) => string | undefined, pool: Pool, options: CommonOptions) {
    this.#keyOf = keyOf
    this.#pool = pool
    this.#strict = options.failover === 'strict'
    this.#keep = options.drain !== 'move'
    pool.on('added', this.#rebuild)
    pool.on('removed', this.#rebuild)
    this.#rebuild()
  }

  find (request: FastifyRequest): Session | undefined {
    const value = this.#keyOf(request)
    if (value === undefined || value === '') return undefined
    return { upstreamId: this.#best(hash32(value)), key: '' }
  }

  bind (): boolean { return true }
  renew (): void {}

  /** The member with the highest score among those that may be used; strictly, among all. */
  #best (key: number): string | undefined {
    let best: string | undefined
    let low = Infinity
    for (const { upstream, first, second } of this.#members) {
      const weight = upstream.configuredWeight
      if (weight <= 0 || (!this.#strict && !this.#usable(upstream))) continue
      const hash = mix32(mix32(key ^ first) + second)
      const score = -Math.log((hash + 0.5) / 4294967296) / weight
      if (score >= low) continue
      best = upstream.id
      low = score
    }
    return best
  }

  #usable (upstream: Upstream): boolean {
    return upstream.hasRoom && (upstream.ready || (this.#keep && upstream.health.state === 'draining'))
  }

  readonly #rebuild = (): void => {
    this.#members = this.#pool.upstreams.map((upstream) => ({ upstream, first: hash32(upstream.id, 3), second: hash32(upstream.id, 4) }))
  }
}
