import type { Environment } from '../clock.ts'
import type { Candidate, PickContext, Policy, Selector } from './contract.ts'
import { EarliestDeadline } from './weighted-round-robin.ts'

/** Share of its weight that a full upstream keeps, so that its next report is heard. */
const LEAST_SHARE = 0.05

/** Turns in proportion to weight × (1 − reported load). */
class ReportedLoad<T extends Candidate> extends EarliestDeadline<T> {
  #mean = 0
  #untilRefresh = 0

  override rebuild (ready: readonly T[]): void {
    let sum = 0
    let reports = 0
    for (const { load: { reported } } of ready) {
      if (reported === undefined) continue
      sum += reported
      reports++
    }
    this.#mean = reports > 0 ? sum / reports : 0
    this.#untilRefresh = ready.length
    super.rebuild(ready)
  }

  override select (context: PickContext): T {
    // Reports come without a rebuild. One look at all of them a round costs O(1) per pick.
    if (--this.#untilRefresh < 0) this.rebuild(this.ready)
    return super.select(context)
  }

  protected override spacing (candidate: T): number {
    const idle = 1 - (candidate.load.reported ?? this.#mean)
    return 1 / (candidate.weight * Math.min(1, Math.max(LEAST_SHARE, idle)))
  }
}

/** For upstreams that report their load (response header, agent). */
export const reportedLoad: Policy = {
  name: 'reported-load',
  describe: 'Turns in proportion to weight and to the idle share that upstreams report; no report counts as the mean.',
  create: <T extends Candidate> (environment: Environment): Selector<T> => new ReportedLoad<T>(environment)
}
