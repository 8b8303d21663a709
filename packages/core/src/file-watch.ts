import { type FSWatcher, watch } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Clock, Timer } from './clock.ts'

export interface FileWatchOptions {
  /** Milliseconds between two looks in any case: not all file systems tell of changes. */
  readonly interval: number
  /** Milliseconds without a change until it is looked, so that what is written in several steps, or to several files, has come to its end. */
  readonly settle: number
  readonly clock: Clock
}

/** Where changes do not cease, as of logs in the same folder, it is looked after so many times `settle`. */
const RESTLESS = 10

/**
 * Tells when files may have changed. Their folders are watched, so that files are seen that are replaced by others, and the links that Kubernetes swaps;
 * a folder that is not there yet, or is another one by now, is watched from the next look on.
 */
export class FileWatch {
  readonly #options: FileWatchOptions
  readonly #changed: () => void
  readonly #watchers: Map<string, FSWatcher | undefined>
  #settling: Timer
  #touchedAt: number | undefined
  #next: Timer
  #stopped = false

  /** Changes from now on are told by `changed`, which decides what has changed if anything has. */
  constructor (files: readonly string[], options: FileWatchOptions, changed: () => void) {
    this.#options = options
    this.#changed = changed
    this.#watchers = new Map(files.map((file) => [dirname(resolve(file)), undefined]))
    this.#watch()
    this.#again()
  }

  stop (): void {
    this.#stopped = true
    for (const watcher of this.#watchers.values()) watcher?.close()
    this.#options.clock.clearTimeout(this.#settling)
    this.#options.clock.clearTimeout(this.#next)
  }

  #watch (): void {
    for (const [folder, watcher] of this.#watchers) if (watcher === undefined) this.#watchers.set(folder, this.#watcherOf(folder))
  }

  #watcherOf (folder: string): FSWatcher | undefined {
    try {
      const watcher = watch(folder, { persistent: false }, (event, name) => {
        // Of itself a folder tells when it is removed, or is moved away: what is in its place then has to be watched.
        if (event === 'rename' && name !== null && resolve(folder, '..', name) === folder) this.#lost(folder, watcher)
        this.#touched()
      })
      watcher.on('error', () => { this.#lost(folder, watcher) })
      return watcher
    } catch {
      // It is not there, there are no watchers left, or none for this file system.
      return undefined
    }
  }

  #lost (folder: string, watcher: FSWatcher): void {
    watcher.close()
    if (!this.#stopped && this.#watchers.get(folder) === watcher) this.#watchers.set(folder, undefined)
  }

  #again (): void {
    const { clock, interval } = this.#options
    this.#next = clock.setTimeout(() => {
      this.#watch()
      this.#changed()
      if (!this.#stopped) this.#again()
    }, interval)
  }

  readonly #touched = (): void => {
    if (this.#stopped) return
    const { clock, settle } = this.#options
    clock.clearTimeout(this.#settling)
    this.#touchedAt ??= clock.now()
    this.#settling = clock.setTimeout(() => {
      this.#touchedAt = undefined
      this.#watch()
      this.#changed()
    }, Math.max(0, Math.min(settle, this.#touchedAt + settle * RESTLESS - clock.now())))
  }
}
