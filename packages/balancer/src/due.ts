import type { RouteSettings } from './options.ts'

type Times = Pick<RouteSettings, 'headersTimeout' | 'idleTimeout' | 'tryTimeout' | 'continueTimeout'>

/**
 * When the first of a request's deadlines is over, in clock time; `Infinity`: none runs. `activity`: when a byte last moved
 * either way; `pickedAt`: the running attempt's begin; `answered`: the response head is here; `starved`: it is the client's
 * turn to send; `withheld`: the body waits for a 100; `timeout`: of the whole request, 0: none.
 */
export function dueAt (
  route: Times, startedAt: number, activity: number, pickedAt: number | undefined, answered: boolean, starved: boolean, withheld: boolean, timeout: number
): number {
  let due = Infinity
  if (pickedAt !== undefined) {
    due = activity + (answered || starved ? route.idleTimeout : route.headersTimeout)
    if (!answered) {
      if (withheld) due = Math.min(due, activity + route.continueTimeout)
      if (route.tryTimeout > 0) due = Math.min(due, pickedAt + route.tryTimeout)
    }
  }
  return timeout > 0 ? Math.min(due, startedAt + timeout) : due
}
