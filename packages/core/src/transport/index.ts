import type { Clock } from '../clock.ts'
import type { Target } from '../target.ts'
import type { Transport, TransportOptions } from './contract.ts'
import { InjectTransport, type InjectableApp } from './inject.ts'
import { NativeTransport } from './native.ts'

export { InjectTransport, type InjectableApp } from './inject.ts'
export { NativeTransport } from './native.ts'

/** The transport for one upstream: over sockets, or into an app of this process. `connected` hears of each connection that was opened, after `latency` ms. */
export function createTransport (
  app: InjectableApp | undefined, target: Target, options: TransportOptions, clock: Clock, connected?: (latency: number) => void
): Transport {
  return app === undefined ? new NativeTransport(target, options, clock, undefined, connected) : new InjectTransport(app)
}
