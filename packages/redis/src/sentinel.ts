import type { Clock } from '@headgate/core'
import { Redis } from 'ioredis'
import { dropSilent, GOODBYE, retryDelay } from './client.ts'

export interface SentinelPlan {
  readonly clock: Clock
  readonly host: string
  readonly port: number
  /** Of the primary. */
  readonly name: string
  readonly password: string | undefined
  readonly tls: object | undefined
  /** Milliseconds for a connection, for the first word on it, and for an answer. */
  readonly timeout: number
}

/** One sentinel, and a connection to it that is kept. One that does not answer is not waited for again until it is back. */
export class Sentinel {
  readonly #plan: SentinelPlan
  readonly #client: Redis
  #absent = false

  constructor (plan: SentinelPlan) {
    this.#plan = plan
    const { clock, host, port, password, tls, timeout } = plan
    this.#client = new Redis({
      host, port, protocol: 2, connectTimeout: timeout, disconnectTimeout: GOODBYE, enableReadyCheck: false, enableOfflineQueue: false, maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false, retryStrategy: retryDelay, ...password !== undefined && { password }, ...tls !== undefined && { tls }
    })
    // Who asks finds out.
    this.#client.on('error', () => {})
    this.#client.on('ready', () => { this.#absent = false })
    this.#client.on('close', () => { this.#absent = true })
    dropSilent(this.#client, clock, timeout)
  }

  /** `host port` of the primary that it names; `undefined` when it names none, or does not answer in time. Never rejects. */
  ask (): Promise<string | undefined> {
    if (this.#absent) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      const { clock, name, timeout } = this.#plan
      const client = this.#client
      const end = (answer: string | undefined): void => {
        clock.clearTimeout(timer)
        client.off('ready', send)
        client.off('close', none)
        resolve(answer)
      }
      const none = (): void => { end(undefined) }
      const send = (): void => {
        client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name).then((answer) => {
          end(Array.isArray(answer) && answer.length === 2 ? `${String(answer[0])} ${String(answer[1])}` : undefined)
        }, none)
      }
      const late = (): void => {
        if (!client.listeners('close').includes(none)) return
        this.#absent = true
        client.disconnect(true)
        end(undefined)
      }
      // What came in time is read first, should this process have been held up itself.
      const timer = clock.setTimeout(() => { setImmediate(late) }, timeout)
      client.on('close', none)
      if (client.status === 'ready') send()
      else client.on('ready', send)
    })
  }

  close (): void { this.#client.disconnect() }
}
