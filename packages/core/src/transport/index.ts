import type { Clock } from '../clock.ts'
import { type ParseTarget, parseTarget, type Target } from '../target.ts'
import { AutoTransport } from './auto.ts'
import type { Transport, TransportOptions } from './contract.ts'
import type { Protocol } from './http2/options.ts'
import { Http2Transport } from './http2/transport.ts'
import { InjectTransport, type InjectableApp } from './inject.ts'
import { NativeTransport } from './native.ts'

export { connectFailure, isUnreached } from './connect.ts'
export { InjectTransport, type InjectableApp } from './inject.ts'
export { NativeTransport } from './native.ts'
export { AutoTransport } from './auto.ts'
export { Http2Transport } from './http2/transport.ts'
export { type Http2Options, type Protocol, protocols } from './http2/options.ts'

/** What the members of a pool are: how their addresses read, and what speaks to them. */
export interface PoolKind {
  /** How the addresses of discovered members begin unless their discovery says otherwise. */
  readonly scheme: 'http' | 'tcp' | 'udp'
  readonly parseTarget: ParseTarget
  createTransport (
    app: InjectableApp | undefined, target: Target, options: TransportOptions, clock: Clock, connected: (latency: number) => void, protocol: Protocol
  ): Transport
}

/** The transport for one upstream: over sockets, or into an app of this process. `connected` hears of each connection that was opened, after `latency` ms. */
export function createTransport (
  app: InjectableApp | undefined, target: Target, options: TransportOptions, clock: Clock, connected?: (latency: number) => void, protocol: Protocol = 'h1'
): Transport {
  if (app !== undefined) return new InjectTransport(app)
  if (protocol === 'h2' || protocol === 'h2c') return new Http2Transport(target, options, clock, connected)
  // Without TLS nobody can be asked what it speaks.
  if (protocol === 'auto' && target.protocol === 'https:') return new AutoTransport(target, options, clock, connected)
  return new NativeTransport(target, options, clock, undefined, connected)
}

/** Pools of HTTP origins: what a pool is unless told otherwise. */
export const httpPool: PoolKind = { scheme: 'http', parseTarget, createTransport }
