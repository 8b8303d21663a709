import type { Pool } from '@headgate/core'
import type { Counters } from './counters.ts'
import { UnknownListenerError } from './errors.ts'
import type { StreamOptions } from './options.ts'

/** A listener, as others see it. */
export interface Listener {
  readonly name: string
  readonly protocol: 'tcp' | 'udp'
  /** Where it listens; `undefined` while it does not. */
  readonly address: string | undefined
  readonly counters: Counters
}

/** Other options that are ready to be taken over: all that can fail has been done. Call one of both, once. */
export interface StreamUpdate {
  /** As it will be. */
  readonly stream: Stream
  /** New connections get the new options. Those that are there go on with what they have, for as long as they live. Cannot fail. */
  commit (): void
  /** Undoes what was begun. */
  discard (): Promise<void>
}

/** The layer 4 listeners of an app, and their pools. */
export class Stream {
  readonly pools: Map<string, Pool> = new Map()
  readonly listeners: Map<string, Listener> = new Map()
  readonly #prepare: ((options: StreamOptions) => Promise<StreamUpdate>) | undefined

  /** `prepare`: what {@link prepare} does; without it, a picture of another one. */
  constructor (prepare?: (options: StreamOptions) => Promise<StreamUpdate>) {
    this.#prepare = prepare
  }

  /** Throws `HG_STREAM_UNKNOWN_LISTENER`. */
  listener (name: string): Listener {
    const listener = this.listeners.get(name)
    if (listener === undefined) throw new UnknownListenerError(name, [...this.listeners.keys()].join(', '))
    return listener
  }

  /**
   * Makes ready for other options, while it runs: listeners and pools of which nothing changes stay as they are, new addresses are
   * opened, and a pool of which only the upstreams change keeps what is known of those that stay. `listeners` may be empty.
   * Throws as the registration does, and `HG_STREAM_LISTEN`; then nothing has changed.
   */
  async prepare (options: StreamOptions): Promise<StreamUpdate> {
    if (this.#prepare === undefined) throw new TypeError('only app.stream of the app that has registered it can be changed')
    return this.#prepare(options)
  }
}
