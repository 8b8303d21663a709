import { createRequire } from 'node:module'
import type * as Undici from 'undici'
import type { FastifyBaseLogger } from 'fastify'
import { Deadlines, PassingSet, type Pool } from '@headgate/core'
import { type DispatcherSettings, DispatchedExchange, type DispatchSite } from './dispatched-exchange.ts'
import { outgoing } from './outgoing.ts'
import { type Receiver, receiverOf } from './receiver.ts'

type Dispatcher = Undici.Dispatcher
type Key = ((options: Undici.Dispatcher.DispatchOptions) => string) | undefined

/** Loaded when it is asked for: it takes as long as the rest of the balancer, and most apps do without. */
function loadUndici (): typeof Undici {
  return createRequire(import.meta.url)('undici') as typeof Undici
}

/** Makes a pool into a dispatcher of undici's. Its end is not the pool's: `close` waits for its own requests, `destroy` ends them. */
export function openDispatcher (pool: Pool, settings: DispatcherSettings, key: Key, log: FastifyBaseLogger): Dispatcher {
  const undici = loadUndici()

  class PoolDispatcher extends undici.Dispatcher {
    closed = false
    destroyed = false
    readonly #running = new PassingSet<DispatchedExchange>()
    #idle: (() => void)[] = []
    readonly #site: DispatchSite = {
      pool,
      settings,
      key,
      deadlines: new Deadlines(pool.environment.clock),
      log,
      abortError: () => new undici.errors.RequestAbortedError(),
      ended: (exchange) => {
        this.#running.delete(exchange)
        if (this.#running.size === 0) for (const done of this.#idle.splice(0)) done()
      }
    }

    override dispatch (options: Undici.Dispatcher.DispatchOptions, handler: Undici.Dispatcher.DispatchHandler): boolean {
      const receiver = receiverOf(handler)
      const exchange = this.#begin(options, receiver)
      if (exchange === undefined) return false
      this.#running.add(exchange)
      exchange.start()
      return true
    }

    override close (): Promise<void>
    override close (callback: () => void): void
    override close (callback?: () => void): Promise<void> | undefined {
      this.closed = true
      return this.#whenIdle(callback)
    }

    override destroy (error?: Error | null): Promise<void>
    override destroy (callback: () => void): void
    override destroy (error: Error | null, callback: () => void): void
    override destroy (given?: Error | null | (() => void), callback?: () => void): Promise<void> | undefined {
      const error = typeof given === 'function' ? undefined : given
      this.closed = this.destroyed = true
      for (const exchange of this.#running.list()) exchange.break(error ?? new undici.errors.ClientDestroyedError())
      return this.#whenIdle(typeof given === 'function' ? given : callback)
    }

    /** `undefined`: the receiver was told why not. */
    #begin (options: Undici.Dispatcher.DispatchOptions, receiver: Receiver): DispatchedExchange | undefined {
      try {
        if (this.destroyed) throw new undici.errors.ClientDestroyedError()
        if (this.closed) throw new undici.errors.ClientClosedError()
        return new DispatchedExchange(this.#site, options, outgoing(options, undici), receiver)
      } catch (error) {
        receiver.fail(error as Error)
        return undefined
      }
    }

    /** Tells when no request runs: by the callback, or by a promise where there is none. */
    #whenIdle (callback: (() => void) | undefined): Promise<void> | undefined {
      if (callback === undefined) return new Promise((resolve) => { void this.#whenIdle(resolve) })
      if (this.#running.size === 0) queueMicrotask(callback)
      else this.#idle.push(callback)
      return undefined
    }
  }

  return new PoolDispatcher()
}
