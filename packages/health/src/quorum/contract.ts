/** An instance would eject this upstream, by what its own traffic showed. */
export interface Vote {
  readonly pool: string
  /** Id of the upstream, which has to be the same in all instances. */
  readonly upstream: string
  /** Another one for each new evidence. */
  readonly id: string
  readonly reason: string
  /** Passed active checks may end the ejection early. */
  readonly checksLift: boolean
}

/** All that one process says. */
export interface Ballot {
  /** Processes of one name count as one: they see the world through the same network. */
  readonly instance: string
  readonly votes: readonly Vote[]
}

/** Where instances tell each other whom they would eject. One verb, for an engine that they have in common. */
export interface VoteStore {
  /**
   * Keeps what this process would eject in place of what it said before, until it is told again or has been silent for long, and gives what
   * all live processes say, this one included. Called every `interval`, and at once with new evidence; never while a call is under way.
   * Rejects when the others cannot be reached.
   */
  exchange (votes: readonly Vote[]): Promise<readonly Ballot[]>
}
