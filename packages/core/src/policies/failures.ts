import { fading } from './fading.ts'
import { reaching } from './slots.ts'

/** Answers added to a rate's denominator: one failure alone does not eject. */
const WINDOW = 5
/**
 * The pool's own failure rate is free, and as much above it as chance makes of it: two standard deviations of a share in so many
 * answers. Not a multiple of the rate: several that fail at once are a good part of it, and would be free themselves.
 */
const SAMPLE = 25
/** Weight of one answer in the pool's failure rate: slow, so that it outlives a burst of rejections. */
const RATE = 0.003
/** Milliseconds in which a failure fades by e. */
const FADE = 10_000
/** What a success leaves of the failures before it. */
const LEFT = 0.95
/** After so many failures in a row, as many successes leave only half each: something has changed, it does not fail just now and then. */
const STREAK = 3
const LEFT_AFTER_STREAK = 0.5
/** A rate so small counts for nothing; else it would go on shrinking among the numbers that processors are slow with. */
const NOTHING = 1e-6

const WIDTH = 4
/** Fading counts of answers and of failures. */
const ANSWERS = 0
const FAILURES = 1
/** Failures in a row; or, below 0, how many successes still leave only half. */
const IN_A_ROW = 2
const FAILED_AT = 3

/** How often each upstream fails, by slot, and the pool as a whole. Shares are failures among answers, 0–1. */
export class Failures {
  #counts: Float64Array<ArrayBuffer> = new Float64Array(0)
  #pool = 0

  /** The share that costs an upstream nothing. */
  get free (): number {
    return this.#pool + 2 * Math.sqrt(this.#pool / SAMPLE)
  }

  reach (slot: number): void {
    this.#counts = reaching(this.#counts, slot * WIDTH + WIDTH - 1)
  }

  clear (slot: number): void {
    this.#counts.fill(0, slot * WIDTH, slot * WIDTH + WIDTH)
  }

  /** Counts an answer; the new share. */
  succeeded (slot: number): number {
    const counts = this.#counts
    const base = slot * WIDTH
    if (this.#pool > 0) {
      this.#pool *= 1 - RATE
      if (this.#pool < NOTHING) this.#pool = 0
    }
    counts[base + ANSWERS] = counts[base + ANSWERS]! * 0.95 + 1
    if (counts[base + FAILURES] === 0) return 0
    const streak = counts[base + IN_A_ROW]!
    const left = streak >= STREAK ? -streak : Math.min(0, streak)
    counts[base + IN_A_ROW] = Math.min(0, left + 1)
    counts[base + FAILURES]! *= left < 0 ? LEFT_AFTER_STREAK : LEFT
    if (counts[base + FAILURES]! < NOTHING) counts[base + FAILURES] = 0
    return counts[base + FAILURES]! / (counts[base + ANSWERS]! + WINDOW)
  }

  /** Counts a failure; the new share, which fades from now on. */
  failed (slot: number, now: number): number {
    const counts = this.#counts
    const base = slot * WIDTH
    this.#pool += (1 - this.#pool) * RATE
    counts[base + ANSWERS] = counts[base + ANSWERS]! * 0.95 + 1
    counts[base + FAILURES] = counts[base + FAILURES]! * faded(now - counts[base + FAILED_AT]!) + 1
    counts[base + FAILED_AT] = now
    counts[base + IN_A_ROW] = Math.max(0, counts[base + IN_A_ROW]!) + 1
    return counts[base + FAILURES]! / (counts[base + ANSWERS]! + WINDOW)
  }
}

/** What is left of a share `ms` after the failure. */
export function faded (ms: number): number { return fading(ms / FADE) }
