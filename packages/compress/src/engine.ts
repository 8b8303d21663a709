import { AsyncResource } from 'node:async_hooks'
import type { Background } from './background.ts'
import { channels, type Path } from './channels.ts'
import type { CompressClock } from './clock.ts'
import type { CodingDone, Encoding } from './encodings/index.ts'
import type { LoadGuard } from './load.ts'
import { Memo, type Remembered, keyOf } from './memo.ts'
import { PassingMap } from './passing-map.ts'

export interface EngineSettings {
  readonly clock: CompressClock
  readonly load: LoadGuard | undefined
  readonly background: Background
  readonly levels: ReadonlyMap<string, { readonly dynamic: number; readonly static: number }>
  /** Longest body, in bytes, that is encoded in this thread. */
  readonly syncLimit: number
  /** Bytes of the memo; 0: none. */
  readonly memory: number
  /** Hits of a memo's entry after which it is made anew at static level. */
  readonly upgradeAfter: number
}

interface Flight {
  readonly body: Buffer
  readonly waiting: CodingDone[]
}

/** Encodes whole bodies, each content once: what is known is not made again, and who asks for what is being made waits for it. */
export class Engine {
  readonly settings: EngineSettings
  readonly #memo: Memo | undefined
  readonly #flights = new PassingMap<string, Flight>()

  constructor (settings: EngineSettings) {
    this.settings = settings
    this.#memo = settings.memory === 0 ? undefined : new Memo(settings.memory)
  }

  /** Level for a body made now. */
  level (encoding: Encoding): number {
    const state = this.settings.load?.state ?? 'normal'
    return state === 'normal' ? this.settings.levels.get(encoding.name)!.dynamic : encoding.levels.least
  }

  /**
   * Encodes for a response; `done` is called at once for what is known or small. `undefined`: not now, the machine is too busy.
   */
  encode (body: Buffer, encoding: Encoding, done: (error: Error | null, encoded: Buffer | undefined) => void): void {
    const { load, clock, syncLimit } = this.settings
    const startedAt = clock.now()
    const key = this.#memo === undefined ? 0 : keyOf(body)
    const known = this.#recall(body, key, encoding)
    if (known !== undefined) {
      this.tell(encoding.name, 'memo', body.length, known.length, startedAt)
      return done(null, known)
    }
    const level = this.level(encoding)
    if (load?.state === 'skip') return done(null, undefined)
    if (body.length <= syncLimit) {
      let encoded: Buffer
      try {
        encoded = encoding.encodeSync(body, level)
      } catch (error) {
        return done(error as Error, undefined)
      }
      this.#memo?.offer(body, key, encoding.name, encoded)
      this.tell(encoding.name, 'one-shot', body.length, encoded.length, startedAt)
      return done(null, encoded)
    }
    this.#fly(body, encoding, level, (error, encoded) => {
      if (error !== null) return done(error, undefined)
      this.#memo?.offer(body, key, encoding.name, encoded)
      this.tell(encoding.name, 'thread-pool', body.length, encoded.length, startedAt)
      done(null, encoded)
    })
  }

  /** In the thread pool, at the dynamic level. */
  encodeAsync (body: Buffer, encoding: Encoding, done: CodingDone): void {
    this.#fly(body, encoding, this.level(encoding), done)
  }

  /** In the background, at the static level; false: too many wait, and `done` will not be called. */
  encodeStatic (body: Buffer, encoding: Encoding, done: CodingDone): boolean {
    const id = this.#id(body, encoding, 'static')
    const flight = this.#flights.get(id)
    if (flight?.body.equals(body) === true) {
      flight.waiting.push(done)
      return true
    }
    const { clock, background, levels } = this.settings
    const waiting = [done]
    const taken = background.add((finished) => {
      const startedAt = clock.now()
      encoding.encode(body, levels.get(encoding.name)!.static, (error, encoded) => {
        finished()
        this.#flights.delete(id)
        if (error === null && channels.static.hasSubscribers) {
          channels.static.publish({ encoding: encoding.name, bytesIn: body.length, bytesOut: encoded.length, duration: clock.now() - startedAt })
        }
        for (const each of waiting) each(error, encoded)
      })
    })
    if (taken) this.#flights.set(id, { body, waiting })
    return taken
  }

  tell (encoding: string, path: Path, bytesIn: number, bytesOut: number, startedAt: number): void {
    if (channels.encoded.hasSubscribers) channels.encoded.publish({ encoding, path, bytesIn, bytesOut, duration: this.settings.clock.now() - startedAt })
  }

  #recall (body: Buffer, key: number, encoding: Encoding): Buffer | undefined {
    const entry = this.#memo?.find(body, key)
    const variant = entry?.encoded.get(encoding.name)
    if (variant === undefined) return undefined
    if (variant.hits >= 0 && ++variant.hits === this.settings.upgradeAfter) this.#upgrade(entry!, key, encoding)
    return variant.body
  }

  #upgrade (entry: Remembered, key: number, encoding: Encoding): void {
    this.encodeStatic(entry.body, encoding, (error, encoded) => {
      const before = entry.encoded.get(encoding.name)
      if (error === null && before !== undefined && encoded.length < before.body.length) this.#memo!.put(entry, key, encoding.name, encoded, -1)
    })
  }

  #id (body: Buffer, encoding: Encoding, level: number | 'static'): string {
    return `${encoding.name} ${level} ${keyOf(body)}`
  }

  /** Runs in the thread pool; joins a run that has the same content in work. */
  #fly (body: Buffer, encoding: Encoding, level: number, done: CodingDone): void {
    const id = this.#id(body, encoding, level)
    const before = this.#flights.get(id)
    if (before?.body.equals(body) === true) {
      // What follows is this request's, and not of the one that it was begun for.
      before.waiting.push(AsyncResource.bind(done))
      return
    }
    const { load } = this.settings
    const flight: Flight = { body, waiting: [done] }
    this.#flights.set(id, flight)
    if (load !== undefined) load.queue++
    encoding.encode(body, level, (error, encoded) => {
      if (load !== undefined) load.queue--
      if (this.#flights.get(id) === flight) this.#flights.delete(id)
      for (const each of flight.waiting) each(error, encoded)
    })
  }
}
