import { hash } from 'node:crypto'
import type { Clock } from '@headgate/core'
import type { StickyReport } from './report.ts'
import type { MaybePromise, StickEntry, StickStore } from './store.ts'

/** Milliseconds that an entry lives without being used, unless `idleTimeout` says otherwise. */
export const TABLE_IDLE = 1_800_000

export interface TableTimes {
  /** Milliseconds without use after which a client is forgotten. */
  readonly idleTimeout: number | undefined
  /** Milliseconds after which it is forgotten in any case. */
  readonly lifetime: number | undefined
  /** Milliseconds that a slow store may take for an answer. */
  readonly timeout: number
}

/**
 * One rule's view of the stick table: keys of its own, times, and no failure of the store ever reaches a client. Keys are
 * hashed, so that they are short whatever clients send, and so that a store never holds anybody's session id.
 */
export class Table {
  readonly #store: StickStore
  readonly #times: TableTimes
  readonly #clock: Clock
  readonly #report: StickyReport
  readonly #namespace: string

  constructor (store: StickStore, namespace: string, times: TableTimes, clock: Clock, report: StickyReport) {
    this.#store = store
    this.#namespace = namespace
    this.#times = times
    this.#clock = clock
    this.#report = report
  }

  keyOf (value: string): string {
    return hash('sha256', `${this.#namespace}\0${value}`, 'base64url').slice(0, 22)
  }

  /** Whom `key` belongs to; nobody when the store fails or is too slow. */
  find (key: string): MaybePromise<StickEntry | undefined> {
    try {
      const found = this.#store.get(key)
      return found instanceof Promise ? this.#inTime(found) : this.#alive(found)
    } catch (error) {
      return this.#failed(error)
    }
  }

  bind (key: string, upstreamId: string): void {
    const boundAt = this.#clock.wall()
    this.#attempt(() => this.#store.set(key, { upstreamId, boundAt }, this.#remaining(boundAt)))
  }

  touch (key: string, boundAt: number): void {
    this.#attempt(() => this.#store.touch(key, Math.max(1, this.#remaining(boundAt))))
  }

  forget (key: string): void {
    this.#attempt(() => this.#store.delete(key))
  }

  #remaining (boundAt: number): number {
    const { idleTimeout = TABLE_IDLE, lifetime = Infinity } = this.#times
    return Math.min(idleTimeout, boundAt + lifetime - this.#clock.wall())
  }

  #alive (entry: StickEntry | undefined): StickEntry | undefined {
    if (entry === undefined || this.#remaining(entry.boundAt) > 0) return entry
    this.#report.tell('expired', entry.upstreamId)
    return undefined
  }

  #inTime (found: Promise<StickEntry | undefined>): Promise<StickEntry | undefined> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(() => {
        resolve(this.#failed(new Error(`the store gave no answer within ${this.#times.timeout} ms`)))
      }, this.#times.timeout)
      const settle = (entry: StickEntry | undefined): void => {
        this.#clock.clearTimeout(timer)
        resolve(entry)
      }
      found.then((entry) => { settle(this.#alive(entry)) }, (error: unknown) => { settle(this.#failed(error)) })
    })
  }

  #attempt (action: () => MaybePromise<unknown>): void {
    try {
      const result = action()
      if (result instanceof Promise) result.catch((error: unknown) => { this.#failed(error) })
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed (error: unknown): undefined {
    this.#report.failed(error)
    return undefined
  }
}
