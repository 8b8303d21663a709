import type { Clock, Timer } from '@headgate/core'
import { Sentinel, type SentinelPlan } from './sentinel.ts'

/** Milliseconds between two looks at whom the sentinels name: a question cannot be missed, as a message of theirs could. */
const LOOK = 500

/** A connection that was made since the sentinels named its server. */
export interface Follower {
  /** `host port`, as the sentinels write it; `undefined` while there is none. */
  readonly address: string | undefined
  /** Another one is the primary now. */
  leave (primary: string): void
}

export interface SentinelsPlan extends Omit<SentinelPlan, 'host' | 'port'> {
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
}

/**
 * What more than half of all say, each with its answer, `undefined` for who gives none. Two that look at different times have asked one in common
 * then, so they can only go by different primaries when its answer changed in between.
 */
export function majority (answers: readonly (string | undefined)[]): string | undefined {
  return answers.find((answer) => answer !== undefined && answers.filter((other) => other === answer).length * 2 > answers.length)
}

/**
 * Whom to go by: the majority, or, where no more than half answer, those who do if they agree. So few cannot put another in the primary's place,
 * and that most of them are gone must not take away what works.
 */
export function agreed (answers: readonly (string | undefined)[]): string | undefined {
  const given = answers.filter((answer) => answer !== undefined)
  return majority(answers) ?? (given.length * 2 <= answers.length ? given.find((answer) => given.every((other) => other === answer)) : undefined)
}

/** Connections to all sentinels that were given: tells who the primary is, and those who follow it when that changes. */
export class Sentinels {
  readonly #clock: Clock
  readonly #sentinels: readonly Sentinel[]
  readonly #followers: Set<Follower> = new Set()
  #timer: Timer
  #closed = false

  constructor ({ nodes, ...plan }: SentinelsPlan) {
    this.#clock = plan.clock
    this.#sentinels = nodes.map(({ host, port }) => new Sentinel({ ...plan, host, port }))
    this.#look()
  }

  /** The primary that they agree on, `host port`; rejects when they do not, or nobody answers. */
  async primary (): Promise<string> {
    const { primary, answers } = await this.#ask()
    if (primary === undefined) throw new Error(answers === 0 ? 'no sentinel names a primary' : 'the sentinels do not agree on the primary')
    return primary
  }

  /** Asked now, do they name this one? When none answers, what was the primary is taken for it still. */
  async name (address: string): Promise<boolean> {
    const { primary, answers } = await this.#ask()
    return answers === 0 || primary === address
  }

  follow (follower: Follower): void { this.#followers.add(follower) }

  close (): void {
    this.#closed = true
    this.#clock.clearTimeout(this.#timer)
    for (const sentinel of this.#sentinels) sentinel.close()
  }

  /** Asks all, and waits until enough have answered, or none is left to wait for. */
  #ask (): Promise<{ primary: string | undefined; answers: number }> {
    return new Promise((resolve) => {
      const answers: (string | undefined)[] = this.#sentinels.map(() => undefined)
      let left = answers.length
      for (const [i, sentinel] of this.#sentinels.entries()) {
        void sentinel.ask().then((answer) => {
          answers[i] = answer
          const primary = majority(answers)
          if (primary !== undefined) this.#go(primary)
          if (--left === 0 || primary !== undefined) resolve({ primary: agreed(answers), answers: answers.filter((one) => one !== undefined).length })
        })
      }
    })
  }

  #go (primary: string): void {
    for (const follower of this.#followers) if (follower.address !== undefined && follower.address !== primary) follower.leave(primary)
  }

  #look (): void {
    this.#timer = this.#clock.setTimeout(() => {
      void this.#ask().then(() => { if (!this.#closed) this.#look() })
    }, LOOK)
  }
}
