import type { CacheView, CompressView } from './model.ts'
import type { Part } from './parts.ts'
import type { PoolGauges, UpstreamGauges } from './views.ts'

interface Worker {
  part: Part
  readonly pools: Map<string, { gauges: PoolGauges; readonly upstreams: Map<string, UpstreamGauges> }>
}

/** What the other workers told last of how things stand; what they counted is in the records. */
export class Others {
  readonly #workers: Map<number, Worker> = new Map()

  get size (): number { return this.#workers.size }
  /** Somebody watches a stream of theirs. */
  get watching (): boolean { return [...this.#workers.values()].some(({ part }) => part.watching) }
  get caches (): (CacheView | null)[] { return [...this.#workers.values()].map(({ part }) => part.cache) }
  get compress (): (CompressView | null)[] { return [...this.#workers.values()].map(({ part }) => part.compress) }

  take (from: number, part: Part): void {
    let worker = this.#workers.get(from)
    if (worker === undefined || part.fresh) this.#workers.set(from, worker = { part, pools: new Map() })
    worker.part = part
    for (const { name, gauges, upstreams, gone } of part.pools) {
      let pool = worker.pools.get(name)
      if (pool === undefined) worker.pools.set(name, pool = { gauges, upstreams: new Map() })
      pool.gauges = gauges
      for (const { gauges } of upstreams) pool.upstreams.set(gauges.id, gauges)
      for (const id of gone) pool.upstreams.delete(id)
    }
  }

  left (worker: number): void {
    this.#workers.delete(worker)
  }

  knows (worker: number): boolean {
    return this.#workers.has(worker)
  }

  pool (name: string): PoolGauges[] {
    return [...this.#workers.values()].flatMap(({ pools }) => pools.get(name)?.gauges ?? [])
  }

  upstream (pool: string, id: string): UpstreamGauges[] {
    return [...this.#workers.values()].flatMap(({ pools }) => pools.get(pool)?.upstreams.get(id) ?? [])
  }

  /** Members of a pool that `known` does not know, as each worker sees them. */
  foreign (pool: string, known: (id: string) => boolean): UpstreamGauges[][] {
    const found = new Map<string, UpstreamGauges[]>()
    for (const { pools } of this.#workers.values()) {
      for (const [id, gauges] of pools.get(pool)?.upstreams ?? []) {
        if (known(id)) continue
        const list = found.get(id)
        if (list === undefined) found.set(id, [gauges])
        else list.push(gauges)
      }
    }
    return [...found.values()]
  }
}
