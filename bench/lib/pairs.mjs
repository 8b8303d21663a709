// What one thing more costs: two apps that take turns in one process.
import { measureTurns, middle } from './turns.mjs'

/** For each pair and second of a round: with less, chance is more than what a feature adds. */
const SECONDS = 3

/**
 * `pairs`: by name, the configurations of two apps. Gives figures[name] = { us: [], adds: [] }: CPU µs of the first app's request, and what
 * the second's costs more, one entry a round.
 */
export async function measurePairs (pairs, path, { seconds, ...context }) {
  const { figures, skipped } = await measureTurns(pairs, path, { ...context, seconds: SECONDS * seconds })
  return {
    figures: Object.fromEntries(Object.entries(figures).map(([name, rounds]) => [name, {
      us: rounds.map((turns) => middle(turns.map(([us]) => us))),
      adds: rounds.map((turns) => middle(turns.map(([without, withIt]) => withIt - without)))
    }])),
    skipped
  }
}
