import { hkdfSync, randomBytes } from 'node:crypto'
import { link, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Timer } from '@headgate/core'
import type { MaybePromise } from './options.ts'

/** Where the keys of session tickets are shared. One verb. */
export interface TicketStore {
  /**
   * Keeps `value` under `name` for at least `ttl` milliseconds, unless a value is kept there already; gives the one that is kept
   * then. All who ask for one name get the same. Called about once in `rotate` by each process.
   */
  claim (name: string, value: Buffer, ttl: number): MaybePromise<Buffer>
}

const SIZE = 48
const RETRY = 10_000

/**
 * The secret that tickets are encrypted with: a new one each `rotate` milliseconds, at times that all machines share. Node knows
 * one key at a time, so the tickets of the last one then cost a full handshake.
 */
export class TicketKeys {
  readonly #rotate: number
  readonly #store: TicketStore | undefined
  readonly #clock: Clock
  #secret = randomBytes(SIZE)
  #epoch = NaN
  #timer: Timer
  #stopped = false

  constructor (rotate: number, store: TicketStore | undefined, clock: Clock) {
    this.#rotate = rotate
    this.#store = store
    this.#clock = clock
  }

  /**
   * The 48 bytes that Node wants, for those who trust `trust`. Whose certificates are accepted is part of the key: a client cannot come
   * back with a ticket from before its certificate was revoked.
   */
  key (trust: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#secret, '', `headgate tls tickets ${trust}`, SIZE))
  }

  /** Goes on with another one's secret, where both would have made up their own for the same time. */
  follow (before: TicketKeys): void {
    if (this.#store !== undefined || before.#store !== undefined || this.#epoch !== before.#epoch || this.#rotate !== before.#rotate) return
    this.#secret = before.#secret
  }

  /** Takes the secret of this time. Rejects when the store fails: the one before then stays. */
  async renew (): Promise<boolean> {
    const epoch = Math.floor(this.#clock.wall() / this.#rotate)
    if (epoch === this.#epoch) return false
    const fresh = randomBytes(SIZE)
    const secret = this.#store === undefined ? fresh : await this.#store.claim(`tickets-${this.#rotate}-${epoch}`, fresh, 2 * this.#rotate)
    if (!Buffer.isBuffer(secret) || secret.length !== SIZE) throw new TypeError(`the ticket store gave no Buffer of ${SIZE} bytes`)
    this.#secret = Buffer.from(secret)
    this.#epoch = epoch
    return true
  }

  /** Goes on with it. `renewed` hears of each new secret. */
  start (renewed: () => void, failed: (error: unknown) => void): void {
    const later = (wait: number): void => { this.#timer = this.#clock.setTimeout(() => void turn(), wait) }
    const turn = async (): Promise<void> => {
      let wait = RETRY
      try {
        const changed = await this.renew()
        if (changed && !this.#stopped) renewed()
        wait = this.#left()
      } catch (error) {
        failed(error)
      }
      if (!this.#stopped) later(wait)
    }
    later(Number.isNaN(this.#epoch) ? 0 : this.#left())
  }

  stop (): void {
    this.#stopped = true
    this.#clock.clearTimeout(this.#timer)
  }

  /** Until the next one. */
  #left (): number {
    return this.#rotate - this.#clock.wall() % this.#rotate
  }
}

/** A folder, for the processes of one machine (or of several that mount it). Made if it is not there, for its owner alone. */
export function fileTicketStore (folder: string): TicketStore {
  return {
    async claim (name, value, ttl) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = join(folder, `${name}.key`)
      const own = join(folder, `.${name}-${randomBytes(8).toString('hex')}`)
      // Written apart, then linked: whoever finds the file finds all of it, and the second one to link is told that it is late.
      await writeFile(own, value, { mode: 0o600, flag: 'wx' })
      try {
        await link(own, file)
        await forget(folder, ttl)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      } finally {
        await rm(own, { force: true })
      }
      return readFile(file)
    }
  }
}

/** Old keys would open what was recorded long ago. */
async function forget (folder: string, ttl: number): Promise<void> {
  for (const entry of await readdir(folder)) {
    if (!entry.endsWith('.key')) continue
    const file = join(folder, entry)
    const { mtimeMs } = await stat(file)
    if (Date.now() - mtimeMs > ttl) await rm(file, { force: true })
  }
}
