import type { Ballot, Vote, VoteStore } from './contract.ts'

/** Votes of several apps in one process. */
export class MemoryVotes {
  readonly #ballots = new Map<string, Ballot>()

  /** The store of one of them. */
  join (instance: string): VoteStore {
    return {
      exchange: async (votes: readonly Vote[]) => {
        this.#ballots.set(instance, { instance, votes })
        return [...this.#ballots.values()]
      }
    }
  }

  /** It is not there any more, and its votes neither. */
  leave (instance: string): void {
    this.#ballots.delete(instance)
  }
}
