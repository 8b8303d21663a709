import { channel, type Channel } from 'node:diagnostics_channel'
import type { HealthChange } from './health.ts'
import type { Outcome } from './lease.ts'

/** One attempt ended; published once per lease. Times in milliseconds. */
export interface AttemptMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  readonly outcome: Outcome
  readonly status: number
  /** Why it failed, in a word (`connect-refused`, `headers-timeout` …); '' when it did not. */
  readonly reason: string
  /** From the pick to the response head; −1 without one. */
  readonly headLatency: number
  /** From the pick to the end. */
  readonly duration: number
  /** 1 for a request's first attempt. */
  readonly attempt: number
}

export interface HealthMessage extends HealthChange {
  readonly pool: string
  readonly upstream: string
  readonly url: string
}

export interface MembershipMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  readonly change: 'added' | 'removed' | 'drained' | 'weight'
  readonly weight: number
}

export interface PanicMessage {
  readonly pool: string
  readonly panic: boolean
  /** Members that would be ready without the override, and all that could be. */
  readonly ready: number
  readonly eligible: number
}

export interface ShedMessage {
  readonly pool: string
  readonly reason: 'queue-full' | 'queue-timeout' | 'none-ready'
}

export interface RetryMessage {
  readonly pool: string
  /** What made the attempt fail, or `budget` when the retry was refused for lack of budget. */
  readonly reason: string
  readonly refused: boolean
}

/** A channel of which the payload's type is known. Build a message only when `hasSubscribers`. */
export type TypedChannel<T> = Omit<Channel, 'publish'> & { publish (message: T): void }

const typed = <T>(name: string): TypedChannel<T> => channel(name) as TypedChannel<T>

/** Every `diagnostics_channel` that core and balancer publish to. */
export const channels: {
  readonly attempt: TypedChannel<AttemptMessage>
  readonly health: TypedChannel<HealthMessage>
  readonly membership: TypedChannel<MembershipMessage>
  readonly panic: TypedChannel<PanicMessage>
  readonly shed: TypedChannel<ShedMessage>
  readonly retry: TypedChannel<RetryMessage>
} = {
  attempt: typed('headgate:balancer:attempt'),
  health: typed('headgate:upstream:health'),
  membership: typed('headgate:pool:membership'),
  panic: typed('headgate:pool:panic'),
  shed: typed('headgate:pool:shed'),
  retry: typed('headgate:balancer:retry')
}
