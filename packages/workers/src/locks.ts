import type { Clock, Timer } from '@headgate/core'
import type { Service } from './switchboard.ts'

export type LockRequest =
  | { readonly name: string; readonly wait: number }
  /** Given back; `pass` milliseconds nobody need wait for it. */
  | { readonly name: string; readonly release: true; readonly pass: number }

/** `got`: it is the asker's. `freed`: another had it, and gave it back. `pass`: nobody need wait for it. `held`: another has it still. */
export type LockAnswer = 'got' | 'freed' | 'pass' | 'held'

interface Held {
  readonly by: number
  readonly waiting: Set<(answer: LockAnswer) => void>
}

/** Of many workers one does a thing. A worker that ends gives back what it held. */
export class Locks implements Service {
  readonly #clock: Clock
  readonly #held: Map<string, Held> = new Map()
  readonly #passes: Map<string, Timer> = new Map()

  constructor (clock: Clock) {
    this.#clock = clock
  }

  answer (data: unknown, from: number): LockAnswer | Promise<LockAnswer> {
    const request = data as LockRequest
    const { name } = request
    const held = this.#held.get(name)
    if ('release' in request) {
      if (held?.by !== from) return 'held'
      if (request.pass > 0) this.#passFor(name, request.pass)
      return this.#free(name, held, request.pass > 0 ? 'pass' : 'freed')
    }
    if (held === undefined) {
      if (this.#passes.has(name)) return 'pass'
      this.#held.set(name, { by: from, waiting: new Set() })
      return 'got'
    }
    if (request.wait === 0) return 'held'
    return new Promise((resolve) => {
      const told = (answer: LockAnswer): void => {
        this.#clock.clearTimeout(timer)
        held.waiting.delete(told)
        resolve(answer)
      }
      const timer = this.#clock.setTimeout(() => { told('held') }, request.wait)
      held.waiting.add(told)
    })
  }

  left (worker: number): void {
    for (const [name, held] of this.#held) if (held.by === worker) this.#free(name, held, 'freed')
  }

  #free (name: string, held: Held, answer: LockAnswer): LockAnswer {
    this.#held.delete(name)
    for (const told of Array.from(held.waiting)) told(answer)
    return answer
  }

  #passFor (name: string, ms: number): void {
    this.#clock.clearTimeout(this.#passes.get(name))
    this.#passes.set(name, this.#clock.setTimeout(() => { this.#passes.delete(name) }, ms))
  }
}
