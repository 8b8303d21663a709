/** A source of numbers uniform in [0, 1), as `Math.random`. */
export type Random = () => number

/**
 * A small deterministic generator for tests and reproducible runs: the same seed gives the same sequence.
 * The mulberry32 mixing function over a Weyl sequence; 32 bits of state, not for secrets.
 */
export function seeded (seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
