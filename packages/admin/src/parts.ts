import type { AttemptRecord, PoolRecord, Recorder, RouteRecord, UpstreamRecord } from '@headgate/metrics'
import type { CacheView, CompressView } from './model.ts'
import { cacheView, compressView, poolGauges, type PoolGauges, upstreamGauges, type UpstreamGauges } from './views.ts'

/** Differences of many sums, most of which are 0: place, difference, place, difference … */
export type Sparse = readonly number[]

/** What one worker tells the one that speaks for all. */
export interface Part {
  /** It begins anew: sums are everything since it started, and what was told before is void. */
  readonly fresh: boolean
  /** Somebody watches its stream. */
  readonly watching: boolean
  readonly clients: Sparse
  readonly cache: CacheView | null
  readonly compress: CompressView | null
  readonly pools: readonly PoolPart[]
}

export interface PoolPart {
  readonly name: string
  readonly sums: Sparse
  readonly gauges: PoolGauges
  /** Those that have changed. */
  readonly upstreams: readonly UpstreamPart[]
  readonly gone: readonly string[]
}

export interface UpstreamPart {
  readonly sums: Sparse
  readonly gauges: UpstreamGauges
}

/** How many of the first sums of a pool or upstream are not its histogram of latencies. */
const SCALARS = 7

function attempts (record: AttemptRecord, budgetExhausted = 0, shed = 0): number[] {
  const { count, errors, retried, sent, received, total } = record
  return [count, errors, retried, sent, received, budgetExhausted, shed, ...total.counts]
}

function poolSums (record: PoolRecord): number[] {
  return attempts(record, record.budgetExhausted, record.shed.total)
}

function clientSums ({ requests, duration }: RouteRecord): number[] {
  return [...requests.cells, ...duration.counts]
}

function difference (now: readonly number[], before: readonly number[] | undefined): Sparse {
  const sparse: number[] = []
  for (let i = 0; i < now.length; i++) {
    const by = now[i]! - (before?.[i] ?? 0)
    if (by !== 0) sparse.push(i, by)
  }
  return sparse
}

/** Adds what another worker counted to a record; returns the part that histograms have of it, by place. */
function each (sparse: Sparse, at: (place: number, by: number) => void): void {
  for (let i = 0; i + 1 < sparse.length; i += 2) at(sparse[i]!, sparse[i + 1]!)
}

export function addAttempts (record: AttemptRecord, sparse: Sparse): void {
  each(sparse, (place, by) => {
    switch (place) {
      case 0: record.count += by; break
      case 1: record.errors += by; break
      case 2: record.retried += by; break
      case 3: record.sent += by; break
      case 4: record.received += by; break
      case 5: (record as PoolRecord).budgetExhausted += by; break
      case 6: if (by > 0) (record as PoolRecord).shed.add('elsewhere', by); break
      default: if (place - SCALARS < record.total.counts.length) record.total.counts[place - SCALARS]! += by
    }
  })
}

export function addClients ({ requests, duration }: RouteRecord, sparse: Sparse): void {
  each(sparse, (place, by) => {
    if (place < requests.cells.length) requests.cells[place]! += by
    else if (place - requests.cells.length < duration.counts.length) duration.counts[place - requests.cells.length]! += by
  })
}

/** Remembers what was told, so that only differences are. */
export class Teller {
  readonly #recorder: Recorder
  readonly #clients: RouteRecord
  #told: Map<object, readonly number[]> = new Map()
  #gauges: Map<string, Map<string, string>> = new Map()
  #fresh = true

  constructor (recorder: Recorder, clients: RouteRecord) {
    this.#recorder = recorder
    this.#clients = clients
  }

  /** Another will be told from now on: it knows nothing yet. */
  anew (): void {
    this.#told = new Map()
    this.#gauges = new Map()
    this.#fresh = true
  }

  /** `counting`: what was counted is told as well; not where it holds what others counted. */
  part (watching: boolean, counting: boolean): Part {
    const { cache, compress } = this.#recorder.plugins
    const fresh = this.#fresh
    this.#fresh = false
    return {
      fresh, watching, clients: counting ? this.#since(this.#clients, clientSums(this.#clients)) : [],
      cache: cacheView(cache), compress: compressView([...compress.values()]),
      pools: this.#recorder.current().map((record) => this.#pool(record, counting))
    }
  }

  #pool (record: PoolRecord, counting: boolean): PoolPart {
    const { name } = record.pool
    let told = this.#gauges.get(name)
    if (told === undefined) this.#gauges.set(name, told = new Map())
    const upstreams: UpstreamPart[] = []
    const gone = new Set(told.keys())
    for (const one of record.upstreams.values()) {
      gone.delete(one.upstream.id)
      const gauges = upstreamGauges(record.pool, one)
      const sums = counting ? this.#since(one, attempts(one)) : []
      const text = JSON.stringify(gauges)
      if (sums.length === 0 && told.get(gauges.id) === text) continue
      told.set(gauges.id, text)
      upstreams.push({ sums, gauges })
    }
    for (const id of gone) told.delete(id)
    return { name, sums: counting ? this.#since(record, poolSums(record)) : [], gauges: poolGauges(record.pool), upstreams, gone: [...gone] }
  }

  #since (record: PoolRecord | UpstreamRecord | RouteRecord, now: readonly number[]): Sparse {
    const sparse = difference(now, this.#told.get(record))
    if (sparse.length > 0) this.#told.set(record, now)
    return sparse
  }
}
