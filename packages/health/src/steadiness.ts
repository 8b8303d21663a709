/** Milliseconds in which half of what is remembered is forgotten. */
const HALF_LIFE = 900_000
/** What may be remembered of an upstream without a consequence: two falls, as of one that is deployed twice. */
const FREE = 2
/** No more than this is remembered, so that one that was mended is believed again within minutes. */
const CEILING = 6
/** Milliseconds to hold for the first fall too many is twice this, and doubles with each further one, up to the longest. */
const HOLD = 30_000
const LONGEST_HOLD = 600_000

/**
 * How often an upstream fell of late: one for each fall, halved every 15 minutes, as in the damping of routes that flap (RFC 2439,
 * section 4.2). Who fell more than twice has to be of one mind for a time before it is believed.
 */
export class Steadiness {
  #well: boolean
  #penalty = 0
  #penaltyAt = 0
  #runs = 0
  #runOf: boolean | undefined
  #runSince = 0

  /** `well`: what is thought of it before its first check; only a fall from there counts. */
  constructor (well: boolean) {
    this.#well = well
  }

  /**
   * A check's result at `now`. `rise` and `fall` alone say whether it is well, so that one that goes on alternating while it is kept
   * out is not forgiven meanwhile.
   */
  checked (ok: boolean, now: number, { rise, fall }: { readonly rise: number; readonly fall: number }): void {
    if (ok !== this.#runOf) {
      this.#runOf = ok
      this.#runs = 0
      this.#runSince = now
    }
    this.#runs++
    if (ok && this.#runs >= rise) this.#well = true
    else if (!ok && this.#runs >= fall) this.fell(now)
  }

  /** It is not well: by its checks, or since it was ejected. */
  fell (now: number): void {
    if (!this.#well) return
    this.#well = false
    this.#penalty = Math.min(CEILING, this.#remembered(now) + 1)
    this.#penaltyAt = now
  }

  /** A trial with real traffic brought it back. */
  recovered (): void {
    this.#well = true
  }

  /** It fell more often of late than it should. */
  flaps (now: number): boolean {
    return this.#remembered(now) > FREE
  }

  /** Milliseconds for which its checks have to go on as they do until that is believed; 0: `rise` and `fall` decide. */
  hold (now: number): number {
    const remembered = this.#remembered(now)
    return remembered > FREE ? Math.max(0, this.#runSince + Math.min(LONGEST_HOLD, HOLD * 2 ** (remembered - 1)) - now) : 0
  }

  #remembered (now: number): number {
    return this.#penalty * 2 ** ((this.#penaltyAt - now) / HALF_LIFE)
  }
}
