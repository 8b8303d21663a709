import { randomBytes } from 'node:crypto'
import type { Claim, ClaimRequest } from '@headgate/cache'
import type { Timer } from '@headgate/core'
import { type Connection, evalBuffer } from '../connection.ts'
import type { Names } from './keys.ts'
import { CLAIM, HOLD, RELEASE } from './scripts.ts'

/** Milliseconds between two looks at a claim that another holds: from, to. */
const FIRST = 2
const LAST = 20

const nothing = (): void => {}
/** Nobody knows better: the caller fetches. */
const ALONE: Claim = { verdict: 'fetch', done: nothing }
const LOOK: Claim = { verdict: 'look', done: nothing }
const PASS: Claim = { verdict: 'pass', done: nothing }

/** Of all processes that want a response, one fetches: who holds the claim, which ends by itself when its holder does. */
export class Claims {
  readonly #connection: Connection
  readonly #names: Names
  readonly #ms: number
  readonly #newer: (request: ClaimRequest, values: readonly Buffer[]) => boolean

  /** `ms`: life of a claim. `newer`: takes what Redis has of a key, and says whether it is more than was known. */
  constructor (connection: Connection, names: Names, ms: number, newer: (request: ClaimRequest, values: readonly Buffer[]) => boolean) {
    this.#connection = connection
    this.#names = names
    this.#ms = ms
    this.#newer = newer
  }

  async claim (request: ClaimRequest): Promise<Claim> {
    const { clock } = this.#connection
    const name = this.#names.claim(request.url, request.variant)
    const hash = this.#names.key(request.url, request.key)
    const token = randomBytes(9).toString('base64url')
    const deadline = clock.now() + request.wait
    for (let pause = FIRST; ; pause = Math.min(pause * 2, LAST)) {
      let answer: Buffer | Buffer[]
      try {
        answer = await this.#connection.ask((client) => evalBuffer<Buffer | Buffer[]>(client, CLAIM, 2, name, hash, token, this.#ms))
      } catch {
        return ALONE
      }
      if (Array.isArray(answer)) {
        const claim = this.#hold(name, token)
        // Another fetched it between our look and our claim.
        if (!this.#newer(request, answer)) return claim
        claim.done(0)
        return LOOK
      }
      if (answer.toString() === '-') return PASS
      if (request.wait === 0) return LOOK
      if (clock.now() >= deadline) return ALONE
      await new Promise<void>((resolve) => { clock.setTimeout(resolve, pause) })
    }
  }

  /** Keeps a claim as long as its holder fetches. */
  #hold (name: string, token: string): Claim {
    const { clock } = this.#connection
    let timer: Timer
    const again = (): void => {
      timer = clock.setTimeout(() => {
        this.#connection.ask((client) => client.eval(HOLD, 1, name, token, this.#ms)).catch(nothing)
        again()
      }, this.#ms / 3)
    }
    again()
    return {
      verdict: 'fetch',
      done: (unsharedFor) => {
        clock.clearTimeout(timer)
        this.#connection.ask((client) => client.eval(RELEASE, 1, name, token, unsharedFor)).catch(nothing)
      }
    }
  }
}
