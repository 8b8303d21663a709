import type { Clock, Timer } from '@headgate/core'
import type { Cluster, Redis } from 'ioredis'

export type Client = Redis | Cluster

/** Milliseconds until a connection that is given up is dropped, should its server not close it too. */
export const GOODBYE = 100

/** Milliseconds before the next attempt to connect. */
export function retryDelay (times: number): number {
  return Math.min(20 * 2 ** Math.min(times, 6), 1000)
}

/**
 * A server that hangs still accepts connections and never answers what the client asks first. The client would wait for that for ever, though
 * another server may long be named in its place. `silent` is told of each that is dropped.
 */
export function dropSilent (client: Client, clock: Clock, ms: number, silent?: () => void): void {
  let timer: Timer
  const over = (): void => { clock.clearTimeout(timer) }
  client.on('connect', () => {
    over()
    timer = clock.setTimeout(() => {
      if (client.status !== 'connect') return
      silent?.()
      client.disconnect(true)
    }, ms, true)
  })
  client.on('ready', over)
  client.on('close', over)
}
