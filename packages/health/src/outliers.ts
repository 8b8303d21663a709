import { channels, type Evidence, type Lease, type Outcome, type Pool, type Upstream } from '@headgate/core'
import type { PassiveSettings } from './passive-options.ts'
import type { Suspicion } from './quorum/quorum.ts'
import { SlidingWindow } from './window.ts'

/** Milliseconds in which a latency falls by e towards faster answers. */
const FADE = 10_000
/** Milliseconds between two comparisons of latencies. */
const EVERY = 1000

/** What one attempt says of its upstream. `silent`: no (whole) answer. `wrong`: a status that is a failure. `nothing`: no evidence. */
export type Judgement = 'good' | 'silent' | 'wrong' | 'nothing'

/** What an attempt's end says of its upstream. `statuses` are those that are failures. */
export function judge (outcome: Outcome, status: number, reason: string, statuses: ReadonlySet<number>): Judgement {
  switch (outcome) {
    case 'ok': return statuses.has(status) ? 'wrong' : 'good'
    case 'aborted': case 'shed': return 'nothing'
    default:
      // Ends that the client or we ourselves brought about.
      return reason === 'request-too-long' || reason === 'destroyed' ? 'nothing' : 'silent'
  }
}

/** What the traffic of one upstream showed. */
class Traffic {
  readonly owner: Upstream
  readonly window: SlidingWindow
  /** In a row: attempts without an answer, and failures of both kinds. */
  silent = 0
  failures = 0
  /** Milliseconds, sensitive to peaks; −1 before the first answer. */
  latency = -1
  latencyAt = 0
  /** Answers since the last comparison, and how many of them were slow by its measure. */
  answers = 0
  slowAnswers = 0
  /** Clock time since when it is too slow; −1 when it is not. */
  slowSince = -1
  slowVolume = 0

  constructor (owner: Upstream, length: number) {
    this.owner = owner
    this.window = new SlidingWindow(length)
  }

  forget (): void {
    this.window.clear()
    this.silent = this.failures = this.answers = this.slowAnswers = this.slowVolume = 0
    this.latency = this.slowSince = -1
  }

  /** Peak EWMA: a slower answer counts at once, a faster one the more, the longer ago the last was. */
  answered (latency: number, now: number): void {
    if (latency > this.latency) this.latency = latency
    else this.latency += (latency - this.latency) * (1 - Math.exp((this.latencyAt - now) / FADE))
    this.latencyAt = now
  }
}

/** What the outliers' judge has to know and to tell. */
export interface OutlierContext {
  /** It flaps as its checks say, and who could do its work does as well: it stays in. */
  needed (upstream: Upstream): boolean
  /** It was ejected since it did not answer. */
  silent (upstream: Upstream): void
  /** Evidence asked for an ejection that is not allowed. */
  spared (upstream: Upstream, reason: string): void
  /** All evidence for an ejection: is it to be done here and now? */
  decides (upstream: Upstream, suspicion: Suspicion): boolean
}

/** Finds the members of one pool that do worse than they should, from the outcomes of real traffic, and ejects them. */
export class Outliers {
  readonly #pool: Pool
  readonly #settings: PassiveSettings
  readonly #records: (Traffic | undefined)[] = []
  readonly #context: OutlierContext
  #compareAt = 0
  /** Milliseconds over which an answer counts as slow; `Infinity` while there is nothing to compare with. */
  #slow = Infinity

  constructor (pool: Pool, settings: PassiveSettings, context: OutlierContext) {
    this.#pool = pool
    this.#settings = settings
    this.#context = context
  }

  /** Hot: takes one attempt's evidence; may eject. */
  observe (upstream: Upstream, judgement: Judgement, lease: Lease, reason: string, now: number): void {
    const record = this.#record(upstream)
    if (now >= this.#compareAt) this.#compare(now)
    if (lease.headAt >= 0 && judgement !== 'silent') {
      const latency = lease.headAt - lease.startedAt
      record.answered(latency, now)
      record.answers++
      if (latency > this.#slow) record.slowAnswers++
    }
    if (judgement === 'good') {
      record.silent = record.failures = 0
      record.window.add(now, false)
      return
    }
    record.window.add(now, true)
    record.failures++
    record.silent = judgement === 'silent' ? record.silent + 1 : 0
    // Nothing can be taken from one that is out already, or that an operator keeps in.
    if (!upstream.health.ready || upstream.health.forced !== undefined) return
    const { gatewayFailures, serverErrors, failureRatio, minimumVolume, window } = this.#settings
    const { silent, failures } = record
    const last = judgement === 'wrong' ? `status ${lease.status}` : reason || 'no answer'
    if (gatewayFailures > 0 && silent >= gatewayFailures) return this.#eject(record, `${silent} attempts in a row without an answer (${last})`, { failures: silent, last }, true)
    if (serverErrors > 0 && failures >= serverErrors) return this.#eject(record, `${failures} failures in a row (${last})`, { failures, last }, false)
    const { total, failed } = record.window
    if (failureRatio > 0 && total >= minimumVolume && failed > failureRatio * total) {
      this.#eject(record, `${failed} of ${total} attempts failed within ${window} ms (${last})`, { failed, total, window, last }, false)
    }
  }

  /** It was ejected, or has come back: what was held against it is no longer. */
  forget (upstream: Upstream): void {
    const record = this.#records[upstream.slot]
    if (record?.owner === upstream) record.forget()
  }

  left (upstream: Upstream): void {
    if (this.#records[upstream.slot]?.owner === upstream) this.#records[upstream.slot] = undefined
  }

  /** Milliseconds; −1 before the first answer. */
  latencyOf (upstream: Upstream): number {
    const record = this.#records[upstream.slot]
    return record?.owner === upstream ? record.latency : -1
  }

  #record (upstream: Upstream): Traffic {
    const record = this.#records[upstream.slot]
    if (record?.owner === upstream) return record
    return this.#records[upstream.slot] = new Traffic(upstream, this.#settings.window)
  }

  /**
   * Who has been too slow for too long. The median is the lower one, so that of two members the slow one can stand out; and an
   * upstream is slow only while most of its answers are, for one answer that takes its time raises a peak-sensitive mean for long.
   */
  #compare (now: number): void {
    const { latencyFactor, latencyWindow, latencyFloor, minimumVolume } = this.#settings
    this.#compareAt = now + EVERY
    if (latencyFactor === 0) return
    const known = this.#records.filter((record): record is Traffic => record !== undefined && record.latency >= 0 &&
      record.owner.health.ready && record.owner.health.forced === undefined && now - record.latencyAt < latencyWindow)
    if (known.length < 2) {
      this.#slow = Infinity
      for (const record of known) record.slowSince = -1
      return
    }
    const median = known.map(({ latency }) => latency).sort((a, b) => a - b)[(known.length - 1) >> 1]!
    this.#slow = Math.max(median * latencyFactor, median + latencyFloor)
    for (const record of known) {
      const { answers, slowAnswers } = record
      record.answers = record.slowAnswers = 0
      // Without an answer since the last look there is nothing new to be said of it.
      if (answers === 0) continue
      if (record.latency <= this.#slow || slowAnswers * 2 <= answers) {
        record.slowSince = -1
        continue
      }
      if (record.slowSince === -1) {
        record.slowSince = now
        record.slowVolume = 0
      }
      record.slowVolume += answers
      if (now - record.slowSince >= latencyWindow && record.slowVolume >= minimumVolume) {
        const latency = Math.round(record.latency)
        this.#eject(record, `${latency} ms against the pool's median of ${Math.round(median)} ms for ${latencyWindow} ms`, { latency, median: Math.round(median), answers: record.slowVolume }, false)
      }
    }
  }

  /** Takes it out, if the pool can do without it. */
  take (owner: Upstream, { reason, evidence, checksLift }: Suspicion): void {
    if (!mayTakeOut(this.#pool, this.#settings.maxEjectionPercent) || this.#context.needed(owner)) {
      this.#context.spared(owner, reason)
      // Asked again after as much evidence as before, not at each failure.
      this.forget(owner)
      if (channels.spared.hasSubscribers) channels.spared.publish({ pool: this.#pool.name, upstream: owner.id, url: owner.url, reason, source: this.#pool })
      return
    }
    owner.health.eject(reason, { base: this.#settings.baseEjection, max: this.#settings.maxEjection, checksLift }, evidence)
    if (checksLift) this.#context.silent(owner)
  }

  #eject (record: Traffic, reason: string, evidence: Evidence, checksLift: boolean): void {
    const suspicion = { reason, evidence, checksLift }
    if (this.#context.decides(record.owner, suspicion)) this.take(record.owner, suspicion)
    else record.forget()
  }
}

/** Whether one more of the pool's usable members may be taken out by passive evidence. */
export function mayTakeOut (pool: Pool, percent: number): boolean {
  let usable = 0
  let ejected = 0
  for (const { health, configuredWeight } of pool.upstreams) {
    if (configuredWeight <= 0) continue
    if (health.state === 'ejected') ejected++
    else if (!health.ready) continue
    usable++
  }
  const least = percent > 0 && usable > 1 ? 1 : 0
  return ejected < Math.max(least, Math.floor(usable * percent / 100))
}
