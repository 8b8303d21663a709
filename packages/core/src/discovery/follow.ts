import { channels, type DiscoveryMessage } from '../channels.ts'
import type { Timer } from '../clock.ts'
import { MemberList } from '../member-list.ts'
import type { Pool } from '../pool.ts'
import type { DiscoveredUpstream, DiscoverySite } from './contract.ts'
import type { DiscoverySettings } from './index.ts'

/** Milliseconds within which a pool takes one list only: the last. */
const STEP = 100
/** Milliseconds that an app's start waits for the first answer. */
const PATIENCE = 5000

/** How a discovery fares. Times in milliseconds since the Unix epoch; 0: never. */
export interface DiscoveryStatus {
  readonly kind: string
  /** Members that it brought and that are in the pool now. */
  readonly members: number
  /** When it last gave a list that was taken. */
  readonly answeredAt: number
  readonly failedAt: number
  /** Why it failed last; '' when it has answered since. */
  readonly error: string
}

/** Takes a pool's members from its discovery. Members of other origin (configured, added at run time) are left alone. */
export class Follower {
  readonly #pool: Pool
  readonly #settings: DiscoverySettings
  readonly #list: MemberList
  readonly #abort = new AbortController()
  #answered: () => void = () => {}
  #waiting: readonly DiscoveredUpstream[] | undefined
  #timer: Timer = undefined
  #appliedAt = -Infinity
  #answeredAt = 0
  #failedAt = 0
  #error = ''
  /** The last answer named nobody, and that was told. */
  #empty = false

  constructor (pool: Pool, settings: DiscoverySettings) {
    this.#pool = pool
    this.#settings = settings
    this.#list = new MemberList(pool, `discovery of pool '${pool.name}'`, { whole: false, subset: settings.subset })
  }

  get status (): DiscoveryStatus {
    return { kind: this.#settings.discovery.name, members: this.#list.size, answeredAt: this.#answeredAt, failedAt: this.#failedAt, error: this.#error }
  }

  start (): Promise<void> {
    const { name, environment, kind } = this.#pool
    const { signal } = this.#abort
    const site: DiscoverySite = {
      pool: name, environment, scheme: kind.scheme, signal,
      update: (members) => { if (!signal.aborted) this.#update(members) },
      failed: (error) => {
        if (signal.aborted) return
        // What came before it is taken before it is told.
        if (this.#timer !== undefined) {
          environment.clock.clearTimeout(this.#timer)
          this.#apply()
        }
        this.#fail(error)
      }
    }
    const first = new Promise<void>((resolve) => {
      const timer = environment.clock.setTimeout(resolve, PATIENCE, true)
      this.#answered = () => {
        environment.clock.clearTimeout(timer)
        resolve()
      }
    })
    // As a promise from the start, so that what is thrown at once is reported as well.
    void new Promise<void>((resolve) => { resolve(this.#settings.discovery.start(site)) }).catch(site.failed)
    return first
  }

  stop (): void {
    this.#pool.environment.clock.clearTimeout(this.#timer)
    this.#abort.abort()
    this.#answered()
  }

  #update (members: readonly DiscoveredUpstream[]): void {
    this.#waiting = members
    if (this.#timer !== undefined) return
    const { clock } = this.#pool.environment
    const rest = this.#appliedAt + STEP - clock.now()
    if (rest <= 0) this.#apply()
    else this.#timer = clock.setTimeout(this.#apply, rest)
  }

  readonly #apply = (): void => {
    const { clock } = this.#pool.environment
    const members = this.#waiting!
    this.#timer = this.#waiting = undefined
    this.#appliedAt = clock.now()
    try {
      const empty = members.length === 0 && this.#settings.keepWhenEmpty
      if (empty) {
        if (!this.#empty) this.#tell({ result: 'kept' })
      } else {
        const { leaving, ...counts } = this.#list.apply(members)
        // An operator may finish what the list began.
        for (const left of leaving) left.catch(() => {})
        if (counts.added + counts.removed + counts.changed > 0) this.#tell({ result: 'changed', ...counts })
      }
      this.#empty = empty
      this.#answeredAt = clock.wall()
      this.#error = ''
      this.#answered()
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail (error: unknown): void {
    this.#failedAt = this.#pool.environment.clock.wall()
    this.#error = error instanceof Error ? error.message : String(error)
    this.#tell({ result: 'failed', error: this.#error })
    this.#answered()
  }

  #tell (what: Pick<DiscoveryMessage, 'result'> & Partial<DiscoveryMessage>): void {
    const message: DiscoveryMessage = {
      pool: this.#pool.name, kind: this.#settings.discovery.name, members: this.#list.size, added: 0, removed: 0, changed: 0, error: '', ...what, source: this.#pool
    }
    if (channels.discovery.hasSubscribers) channels.discovery.publish(message)
    this.#pool.emit('discovery', message)
  }
}
