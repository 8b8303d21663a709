import { Load, seeded, type Candidate, type Environment, type Location, type PickContext, type Selector } from '../../src/index.ts'

/** A clock that only moves when told to, and seeded chance. */
export class FakeEnvironment implements Environment {
  time = 1000
  readonly random: () => number
  readonly clock = { now: () => this.time, wall: () => this.time, setTimeout: () => 0, clearTimeout: () => {} }
  constructor (seed = 1) { this.random = seeded(seed) }
}

export interface Fake extends Candidate { weight: number; configuredWeight: number }

export function upstream (slot: number, weight = 1, extra: { id?: string; zone?: string; location?: Location } = {}): Fake {
  return { id: extra.id ?? `upstream-${slot}`, slot, weight, configuredWeight: weight, zone: extra.zone, location: extra.location, load: new Load() }
}

export const upstreams = (n: number, weight?: (slot: number) => number): Fake[] =>
  Array.from({ length: n }, (_, slot) => upstream(slot, weight?.(slot)))

export interface MutableContext extends PickContext { keyHash: number; clientAddress: string; clientLocation: Location | undefined }
export const context = (): MutableContext => ({ keyHash: 0, clientAddress: '', clientLocation: undefined })

interface Answer { latency: number; ok: boolean }

/**
 * Answers within 5–15 ms. With all latencies equal, requests go in lockstep and whole numbers in flight settle into cycles that
 * no real pool has (3, 1 and 2 at once for three alike).
 */
export const varied = (environment: FakeEnvironment) => (): Answer => ({ latency: 5 + 10 * environment.random(), ok: true })

/** Keeps `atOnce` requests in flight and counts the picks; every request ends after its latency, in order of time. */
export function run (
  environment: FakeEnvironment, selector: Selector<Fake>, picks: number, atOnce: number,
  answer: (candidate: Fake) => Answer = () => ({ latency: 10, ok: true }), each: (context: MutableContext, k: number) => void = () => {}
): Map<Fake, number> {
  const counts = new Map<Fake, number>()
  const flying: { candidate: Fake; startedAt: number; end: number; ok: boolean }[] = []
  const request = context()
  for (let k = 0; k < picks; k++) {
    while (flying.length >= atOnce) {
      let soonest = 0
      for (let j = 1; j < flying.length; j++) if (flying[j]!.end < flying[soonest]!.end) soonest = j
      const [{ candidate, startedAt, end, ok }] = flying.splice(soonest, 1) as [typeof flying[0]]
      environment.time = Math.max(environment.time, end)
      candidate.load.finished(ok, environment.time - startedAt)
      selector.finished?.(candidate, environment.time, startedAt, environment.time - startedAt, ok)
    }
    request.keyHash = Math.floor(environment.random() * 4294967296)
    request.clientAddress = `10.${k >> 16 & 255}.${k >> 8 & 255}.${k & 255}`
    each(request, k)
    const candidate = selector.select(request)
    counts.set(candidate, (counts.get(candidate) ?? 0) + 1)
    candidate.load.started()
    selector.started?.(candidate, environment.time)
    const { latency, ok } = answer(candidate)
    flying.push({ candidate, startedAt: environment.time, end: environment.time + latency, ok })
  }
  for (const { candidate, startedAt, end, ok } of flying) {
    environment.time = Math.max(environment.time, end)
    candidate.load.finished(ok, end - startedAt)
    selector.finished?.(candidate, environment.time, startedAt, end - startedAt, ok)
  }
  return counts
}
