import { serversFor } from './erlang.ts'

export interface AdviceOptions {
  /** Requests that one upstream can work on at once, ≥ 1: where more make each slower. @default 1 */
  readonly concurrency?: number
  /** Share of the time that an upstream should be busy, 0.05–0.95. @default 0.7 */
  readonly targetUtilisation?: number
  /** Share of requests that may find everybody busy, 0.001–1. @default 0.05 */
  readonly waiting?: number
  /** Spare upstreams on top, 0–1000: one can fail and all is well. @default 0 */
  readonly headroom?: number
  /** Least and most that is ever advised, 0–100,000. @default 1 and 100 */
  readonly min?: number
  readonly max?: number
  /** Milliseconds over which load is averaged, 1,000–3,600,000. @default 30000 */
  readonly window?: number
  /** Milliseconds for which fewer must have been enough before fewer are advised, 0–86,400,000. @default 300000 */
  readonly downAfter?: number
  /** Milliseconds for which more must have been needed before more are advised, 0–3,600,000. @default 15000 */
  readonly upAfter?: number
}

/** What the pool did since the last look. */
export interface LoadSample {
  /** Clock time in milliseconds. */
  readonly now: number
  /** Arrivals since the last look: attempts that were begun, and requests that wait or were shed. */
  readonly arrivals: number
  /** Mean time in milliseconds that an upstream works on one request; NaN when none ended. */
  readonly serviceTime: number
  /** Upstreams that are ready. */
  readonly ready: number
}

export interface Advice {
  /** Upstreams that there should be. */
  readonly desired: number
  readonly ready: number
  /** Arrivals per second and service time in milliseconds, averaged. */
  readonly arrivalRate: number
  readonly serviceTime: number
  /** Mean number of requests being worked on: arrival rate × service time (J. D. C. Little, 1961). */
  readonly concurrency: number
  /** Share of the ready upstreams' capacity that this takes; 0 with none. */
  readonly utilisation: number
  /** Why it is so, in words. */
  readonly reason: string
}

/**
 * How many upstreams a pool should have. The work in progress is arrival rate × service time (Little's law, which holds for any
 * arrivals and service times); divided by what one upstream can do at once it is an offered load in upstreams, and enough are
 * those with which each is busy for the target share at most and few requests find all busy (Erlang C). More are advised soon, fewer
 * late: the advice rises when the need was above it for `upAfter`, to what was needed all that time, and falls when it was
 * below for `downAfter`, to the most that was needed in it. A need that only swings never moves it.
 */
export class Advisor {
  readonly #options: Required<AdviceOptions>
  #rate = NaN
  #service = NaN
  #last = NaN
  #desired = NaN
  #aboveSince = NaN
  #leastAbove = Infinity
  #belowSince = NaN
  #mostBelow = 0

  constructor (options: AdviceOptions = {}) {
    this.#options = {
      concurrency: options.concurrency ?? 1, targetUtilisation: options.targetUtilisation ?? 0.7, waiting: options.waiting ?? 0.05,
      headroom: options.headroom ?? 0, min: options.min ?? 1, max: options.max ?? 100, window: options.window ?? 30_000,
      downAfter: options.downAfter ?? 300_000, upAfter: options.upAfter ?? 15_000
    }
  }

  /** Takes a sample, about once a second. */
  sample ({ now, arrivals, serviceTime, ready }: LoadSample): Advice {
    const passed = Number.isNaN(this.#last) ? 1000 : Math.max(1, now - this.#last)
    this.#last = now
    // An average over the window, however unevenly samples come.
    const share = 1 - Math.exp(-passed / this.#options.window)
    const rate = arrivals / passed * 1000
    this.#rate = Number.isNaN(this.#rate) ? rate : this.#rate + (rate - this.#rate) * share
    if (!Number.isNaN(serviceTime)) {
      // A second in which few ended says less about their time.
      const weight = Math.min(1, share * Math.max(0.2, Math.min(5, arrivals / Math.max(1, this.#rate))))
      this.#service = Number.isNaN(this.#service) ? serviceTime : this.#service + (serviceTime - this.#service) * weight
    }
    const needed = this.#needed()
    const reason = this.#settle(needed, now, ready)
    const concurrency = this.#rate * (Number.isNaN(this.#service) ? 0 : this.#service) / 1000
    return {
      desired: this.#desired, ready, arrivalRate: this.#rate, serviceTime: Number.isNaN(this.#service) ? 0 : this.#service, concurrency,
      utilisation: ready === 0 ? 0 : concurrency / (ready * this.#options.concurrency), reason
    }
  }

  #needed (): number {
    const { concurrency, targetUtilisation, waiting, headroom, min, max } = this.#options
    const work = Number.isNaN(this.#service) ? 0 : this.#rate * this.#service / 1000
    // One upstream is `concurrency` servers of the queue.
    const servers = serversFor(work, targetUtilisation, waiting)
    return Math.min(max, Math.max(min, Math.ceil(servers / concurrency) + headroom))
  }

  #settle (needed: number, now: number, ready: number): string {
    if (Number.isNaN(this.#desired)) this.#desired = Math.min(this.#options.max, Math.max(this.#options.min, ready))
    if (needed > this.#desired) {
      if (Number.isNaN(this.#aboveSince)) [this.#aboveSince, this.#leastAbove] = [now, Infinity]
      this.#leastAbove = Math.min(this.#leastAbove, needed)
      this.#belowSince = NaN
      if (now - this.#aboveSince < this.#options.upAfter) return `${needed} would be needed, for ${seconds(now - this.#aboveSince)} now`
      this.#desired = this.#leastAbove
      this.#aboveSince = NaN
      return `${this.#desired} were needed for ${seconds(this.#options.upAfter)}`
    }
    this.#aboveSince = NaN
    if (needed === this.#desired) {
      this.#belowSince = NaN
      return 'as many as are needed'
    }
    if (Number.isNaN(this.#belowSince)) [this.#belowSince, this.#mostBelow] = [now, 0]
    this.#mostBelow = Math.max(this.#mostBelow, needed)
    if (now - this.#belowSince < this.#options.downAfter) return `${needed} would be enough, for ${seconds(now - this.#belowSince)} now`
    this.#desired = this.#mostBelow
    this.#belowSince = NaN
    return `${this.#desired} were enough for ${seconds(this.#options.downAfter)}`
  }
}

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`
