import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import type { Clock, Timer } from '@headgate/core'

/** Several files change together: the change is looked at when this much time has passed without another. */
const SETTLE = 200

/**
 * Tells when files may have changed: by watching their folders, which also sees files that are replaced (and the links that
 * Kubernetes swaps), and every `interval` milliseconds in any case, for file systems that tell nothing.
 */
export class FileWatch {
  readonly #clock: Clock
  readonly #changed: () => void
  readonly #watchers: FSWatcher[] = []
  readonly #interval: number
  #settling: Timer
  #next: Timer
  #stopped = false

  constructor (files: readonly string[], interval: number, clock: Clock, changed: () => void) {
    this.#clock = clock
    this.#changed = changed
    this.#interval = interval
    for (const folder of new Set(files.map((file) => dirname(file)))) {
      try {
        const watcher = watch(folder, { persistent: false }, this.#touched)
        // A folder that goes away ends its watcher; the interval is left.
        watcher.on('error', () => { watcher.close() })
        this.#watchers.push(watcher)
      } catch {
        // No watchers left, or none for this file system.
      }
    }
    this.#again()
  }

  stop (): void {
    this.#stopped = true
    for (const watcher of this.#watchers) watcher.close()
    this.#clock.clearTimeout(this.#settling)
    this.#clock.clearTimeout(this.#next)
  }

  #again (): void {
    this.#next = this.#clock.setTimeout(() => {
      this.#changed()
      if (!this.#stopped) this.#again()
    }, this.#interval)
  }

  readonly #touched = (): void => {
    this.#clock.clearTimeout(this.#settling)
    if (!this.#stopped) this.#settling = this.#clock.setTimeout(this.#changed, SETTLE)
  }
}
