/** Answers of the whole pool that the comparisons below look back on; the first count evenly. */
const MEMORY = 6000
/** Upstreams with fewer recent answers than this say too little of what follows. */
const FEW = 5
/** Slopes up to the first are chance and the echo of common load: nothing is foretold. From the second on the upstreams differ. */
const FORETELLS_NOTHING = 0.25
const FORETELLS = 0.5
/**
 * Requests in flight per upstream. Up to the first they say nothing, since others fill the queues: latencies are all there is to go by.
 * From the second on they tell the upstreams apart.
 */
const UNSEEN = 0.25
const SEEN = 0.5
/**
 * The same for all of a proxy's requests together: so few are a small part of what upstreams work at, or too small a sample of it, and
 * latencies tell of the rest even where upstreams are alike.
 */
const FEW_FLYING = 15
const MANY_FLYING = 20
/** Answers per upstream before any is called slow: the first to come back are short ones, beside which every other looks long. */
const FIRST = 5
/** Where spread falls with latency in this proportion or more, it is distance that differs. */
const DISTANCE = -0.5
/** Weights of an answer in the mean and in the spread, divided by the size of the pool; and of a pick in the usual number in flight. */
const TYPICAL_RATE = 0.05
const SPREAD_RATE = 0.02
const USUAL_RATE = 0.05
const LOAD_RATE = 0.002

const share = (x: number): number => x > 1 ? 1 : x > 0 ? x : 0

/**
 * Whether the upstreams of a pool differ, and in what; all of it in square roots of latencies.
 *
 * The means of upstreams that are alike differ by chance, and going by them is worse than counting what is in flight. How much of a
 * difference is real is a matter of regression to the mean: the slope of later answers on the means before them, each less the
 * pool's (S. M. Stigler, "A Galtonian perspective on shrinkage estimators", 1990). It is about 0 where chance alone is at work and
 * above a half where upstreams differ. One that stands out of a pool of alike ones does not wait for that: it is believed when it is
 * beyond what the largest of n chance differences reaches, sqrt(2 ln n) standard errors (Donoho and Johnstone, "Ideal spatial
 * adaptation by wavelet shrinkage", 1994).
 */
export class Likeness {
  /** Mean of all. */
  typical = 0
  /** Variance around each upstream's own mean. */
  spread = 0
  /** What a pick usually finds in flight, per weight. */
  usual = 0
  #size = 1
  /** No less than 4: in smaller pools one upstream would be the measure of itself. */
  #rated = 4
  #limit = 1
  #answers = 0
  #picks = 0
  #flying = 0
  /** Mean of `#flying`. */
  #load = 0
  /** Of an upstream's mean with its next answer; of the mean; of the mean with how far the next answer is from it. */
  #covariance = 0
  #variance = 0
  #widening = 0

  resize (size: number): void {
    this.#size = size
    this.#rated = Math.max(4, size)
    this.#limit = 2 * Math.log(size)
  }

  /** A pick of one that had so many in flight per weight. */
  picked (found: number): void {
    this.#picks++
    this.usual += (found - this.usual) * Math.max(1 / this.#picks, USUAL_RATE / this.#rated)
    this.#load += (this.#flying - this.#load) * Math.max(1 / this.#picks, LOAD_RATE)
  }

  /** So many more are in flight. */
  flies (more: number): void {
    this.#flying += more
  }

  /** An answer of one that had the mean `mean` before, of about so many answers. */
  answered (root: number, mean: number, answers: number): void {
    const first = 1 / ++this.#answers
    const typical = this.typical += (root - this.typical) * Math.max(first, TYPICAL_RATE / this.#rated)
    const off = root - (answers > 0 ? mean : typical)
    const wider = off * off - this.spread
    this.spread += wider * Math.max(first, SPREAD_RATE / this.#rated)
    if (answers <= FEW) return
    const apart = mean - typical
    const rate = Math.max(first, 1 / MEMORY)
    this.#covariance += (apart * (root - typical) - this.#covariance) * rate
    this.#variance += (apart * apart - this.#variance) * rate
    this.#widening += (apart * wider - this.#widening) * rate
  }

  /** How much of what sets an upstream apart is real, 0–1: its mean is so far from the pool's after so many answers. */
  trust (apart: number, answers: number): number {
    const load = this.#load
    const doubt = (1 - this.#foretold) * share((load / this.#size - UNSEEN) / (SEEN - UNSEEN)) * share((load - FEW_FLYING) / (MANY_FLYING - FEW_FLYING))
    if (doubt === 0) return 1
    if (this.#answers < FIRST * this.#size) return 0
    return share(apart * apart * answers / (this.spread * doubt * this.#limit) - 1)
  }

  /**
   * How much of the usual number in flight is capacity, 0–1. Work that takes longer spreads in proportion; a longer way is added to
   * every answer alike, and whoever is near has more in flight without being able to take more.
   */
  get capacity (): number {
    if (this.#variance === 0) return 1
    const elasticity = this.#widening * this.typical / (2 * this.#variance * this.spread)
    return share(1 - elasticity / DISTANCE)
  }

  get #foretold (): number {
    if (this.#variance === 0) return 0
    return share((this.#covariance / this.#variance - FORETELLS_NOTHING) / (FORETELLS - FORETELLS_NOTHING))
  }
}
