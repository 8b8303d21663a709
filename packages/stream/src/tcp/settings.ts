import { Peers } from '@headgate/core'
import type { BandwidthOptions, TcpListenerOptions } from '../options.ts'
import { refuseListener } from '../refuse.ts'

/** A TCP listener's options, checked and complete. */
export interface TcpSettings {
  readonly retries: number
  readonly replayLimit: number
  readonly replayWithin: number
  readonly idleTimeout: number
  readonly maxConnectionAge: number
  readonly noDelay: boolean
  readonly keepAlive: number
  readonly maxConnections: number
  readonly maxConnectionsPerClient: number
  readonly bandwidth: BandwidthOptions
  readonly prereadTimeout: number
  readonly handshakeTimeout: number
  readonly acceptProxy: { readonly peers: Peers; readonly closeOthers: boolean; readonly timeout: number } | undefined
  readonly closeWhenDown: boolean
  readonly drainTimeout: number
  readonly readBufferSize: number
}

/** Fills in the defaults; `path` names the listener in errors. */
export function tcpSettings (options: TcpListenerOptions, path: string): TcpSettings {
  const { acceptProxy } = options
  return Object.freeze({
    retries: options.retries ?? 2,
    replayLimit: options.replayLimit ?? 16_384,
    replayWithin: options.replayWithin ?? 1000,
    idleTimeout: options.idleTimeout ?? 600_000,
    maxConnectionAge: options.maxConnectionAge ?? 0,
    noDelay: options.noDelay ?? true,
    keepAlive: options.keepAlive ?? 60_000,
    maxConnections: options.maxConnections ?? Infinity,
    maxConnectionsPerClient: options.maxConnectionsPerClient ?? Infinity,
    bandwidth: options.bandwidth ?? {},
    prereadTimeout: options.prereadTimeout ?? 5000,
    handshakeTimeout: options.handshakeTimeout ?? 10_000,
    acceptProxy: acceptProxy === undefined
      ? undefined
      : { peers: new Peers(acceptProxy.from, `${path}.acceptProxy.from`, refuseListener), closeOthers: acceptProxy.others !== 'plain', timeout: acceptProxy.timeout ?? 3000 },
    closeWhenDown: options.closeWhenDown ?? false,
    drainTimeout: options.drainTimeout ?? 30_000,
    readBufferSize: options.readBufferSize ?? 262_144
  })
}
