import type { AttemptMessage, Outcome, Pool, ShedMessage, Upstream } from '@headgate/core'
import { Histogram } from './histogram.ts'

/** Methods that get a label of their own; all others share `other`. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other'] as const
/** Status classes by first digit; `none`: no response head. */
export const CLASSES = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'] as const
export const OUTCOMES: readonly Outcome[] = ['ok', 'failed-before-send', 'failed-after-send', 'timed-out', 'aborted', 'shed']
export const SHED_REASONS: readonly ShedMessage['reason'][] = ['queue-full', 'queue-timeout', 'none-ready', 'no-sockets']

const OTHER = METHODS.length - 1
const methodIndex = new Map<string, number>(METHODS.map((method, index) => [method, index]))

/** Requests by method and status class. */
export class RequestCounts {
  readonly cells: Float64Array = new Float64Array(METHODS.length * CLASSES.length)

  add (method: string, status: number): void {
    const digit = Math.floor(status / 100)
    this.cells[(methodIndex.get(method) ?? OTHER) * CLASSES.length + (digit >= 1 && digit <= 5 ? digit : 0)]!++
  }

  * entries (): Generator<[method: string, statusClass: string, count: number]> {
    for (let i = 0; i < this.cells.length; i++) {
      if (this.cells[i]! > 0) yield [METHODS[Math.floor(i / CLASSES.length)]!, CLASSES[i % CLASSES.length]!, this.cells[i]!]
    }
  }

  get total (): number {
    let sum = 0
    for (const count of this.cells) sum += count
    return sum
  }

  /** Sum over the methods, by class index. */
  ofClass (index: number): number {
    let sum = 0
    for (let i = index; i < this.cells.length; i += CLASSES.length) sum += this.cells[i]!
    return sum
  }
}

/** Counts by a word; after `limit` different ones new words are counted as `other`, so that labels stay bounded. */
export class WordCounts {
  readonly #limit: number
  readonly #counts = new Map<string, { count: number }>()

  constructor (limit = 32) {
    this.#limit = limit
  }

  add (word: string, by = 1): void {
    (this.#counts.get(word) ?? this.#cell(word)).count += by
  }

  get (word: string): number { return this.#counts.get(word)?.count ?? 0 }

  get total (): number {
    let sum = 0
    for (const { count } of this.#counts.values()) sum += count
    return sum
  }

  * entries (): Generator<[string, number]> {
    for (const [word, { count }] of this.#counts) yield [word, count]
  }

  #cell (word: string): { count: number } {
    const key = this.#counts.size < this.#limit ? word : 'other'
    let cell = this.#counts.get(key)
    if (cell === undefined) this.#counts.set(key, cell = { count: 0 })
    return cell
  }
}

/** What attempts did, for one upstream or summed over a pool. Times in milliseconds. */
export class AttemptRecord {
  readonly requests: RequestCounts = new RequestCounts()
  readonly outcomes: WordCounts = new WordCounts()
  readonly failures: WordCounts = new WordCounts()
  /** What made the pool choose: `affinity` are the clients that came back to theirs. */
  readonly choices: WordCounts = new WordCounts()
  readonly head: Histogram
  readonly total: Histogram
  /** All that ended. */
  count = 0
  /** Those that failed, or were answered with a 5xx. */
  errors = 0
  /** Attempts that were not a request's first. */
  retried = 0
  sent = 0
  received = 0

  constructor (bounds: readonly number[]) {
    this.head = new Histogram(bounds)
    this.total = new Histogram(bounds)
  }

  add ({ lease, outcome, status, reason, headLatency, duration, method, sent, received, attempt }: AttemptMessage): void {
    // What we gave up ourselves and clients that left are no faults of the upstream.
    const failed = outcome !== 'ok' && outcome !== 'aborted' && outcome !== 'shed'
    this.count++
    if (failed || status >= 500) this.errors++
    this.requests.add(method, status)
    this.outcomes.add(outcome)
    this.choices.add(lease.choice)
    if (failed) this.failures.add(reason || outcome)
    if (headLatency >= 0) this.head.observe(headLatency)
    this.total.observe(duration)
    if (attempt > 1) this.retried++
    this.sent += sent
    this.received += received
  }
}

export class UpstreamRecord extends AttemptRecord {
  readonly upstream: Upstream
  readonly connect: Histogram
  readonly probe: Histogram
  readonly transitions: WordCounts = new WordCounts()
  readonly probes: WordCounts = new WordCounts()

  constructor (upstream: Upstream, bounds: readonly number[]) {
    super(bounds)
    this.upstream = upstream
    this.connect = new Histogram(bounds)
    this.probe = new Histogram(bounds)
  }
}

export class PoolRecord extends AttemptRecord {
  readonly pool: Pool
  readonly upstreams: Map<Upstream, UpstreamRecord> = new Map()
  readonly queueWait: Histogram
  readonly departures: WordCounts = new WordCounts()
  readonly retries: WordCounts = new WordCounts()
  readonly shed: WordCounts = new WordCounts()
  /** What became of sessions, by the kind of affinity. */
  readonly sticky: Map<string, WordCounts> = new Map()
  /** Copies that it got as a shadow, why some were dropped, and what comparisons of its answers said. */
  readonly mirrored: WordCounts = new WordCounts()
  readonly undelivered: WordCounts = new WordCounts()
  readonly compared: WordCounts = new WordCounts()
  budgetExhausted = 0

  constructor (pool: Pool, bounds: readonly number[]) {
    super(bounds)
    this.pool = pool
    this.queueWait = new Histogram(bounds)
  }
}

/** What clients saw of one route. Times in milliseconds. */
export class RouteRecord {
  readonly requests: RequestCounts = new RequestCounts()
  readonly duration: Histogram

  constructor (bounds: readonly number[]) {
    this.duration = new Histogram(bounds)
  }
}
