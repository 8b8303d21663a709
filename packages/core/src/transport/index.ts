import type { Clock } from '../clock.ts'
import { type ParseTarget, parseTarget, type Target } from '../target.ts'
import type { Transport, TransportOptions } from './contract.ts'
import { InjectTransport, type InjectableApp } from './inject.ts'
import { NativeTransport } from './native.ts'

export { connectFailure } from './connect.ts'
export { InjectTransport, type InjectableApp } from './inject.ts'
export { NativeTransport } from './native.ts'

/** What the members of a pool are: how their addresses read, and what speaks to them. */
export interface PoolKind {
  /** How the addresses of discovered members begin unless their discovery says otherwise. */
  readonly scheme: 'http' | 'tcp' | 'udp'
  readonly parseTarget: ParseTarget
  createTransport (app: InjectableApp | undefined, target: Target, options: TransportOptions, clock: Clock, connected: (latency: number) => void): Transport
}

/** The transport for one upstream: over sockets, or into an app of this process. `connected` hears of each connection that was opened, after `latency` ms. */
export function createTransport (
  app: InjectableApp | undefined, target: Target, options: TransportOptions, clock: Clock, connected?: (latency: number) => void
): Transport {
  return app === undefined ? new NativeTransport(target, options, clock, undefined, connected) : new InjectTransport(app)
}

/** Pools of HTTP origins: what a pool is unless told otherwise. */
export const httpPool: PoolKind = { scheme: 'http', parseTarget, createTransport }
