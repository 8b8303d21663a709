import type { Ballot, Vote } from './contract.ts'

/** How many instances must agree: this many, or more than half of them. */
export type Agreement = 'majority' | number

/** What the instances say of one upstream. */
export interface Agreed {
  readonly pool: string
  readonly upstream: string
  /** Of each process that would eject it. */
  readonly votes: readonly Vote[]
  /** Instances that would eject it, and that there are. */
  readonly agreed: number
  readonly instances: number
}

/** Of `instances`, so many have to agree. Never more than there are: one that is alone decides alone. */
export function needed (agree: Agreement, instances: number): number {
  return agree === 'majority' ? Math.floor(instances / 2) + 1 : Math.min(agree, instances)
}

/** The upstreams that enough instances would eject. */
export function tally (ballots: readonly Ballot[], agree: Agreement): Agreed[] {
  const instances = new Set(ballots.map(({ instance }) => instance)).size
  const found = new Map<string, { votes: Vote[]; voters: Set<string> }>()
  for (const { instance, votes } of ballots) {
    for (const vote of votes) {
      const key = JSON.stringify([vote.pool, vote.upstream])
      let there = found.get(key)
      if (there === undefined) found.set(key, there = { votes: [], voters: new Set() })
      there.votes.push(vote)
      there.voters.add(instance)
    }
  }
  const enough = needed(agree, instances)
  const all: Agreed[] = []
  for (const { votes, voters } of found.values()) {
    const { pool, upstream } = votes[0]!
    if (voters.size >= enough) all.push({ pool, upstream, votes, agreed: voters.size, instances })
  }
  return all
}
