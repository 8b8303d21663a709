import type { TlsOptions } from 'node:tls'
import type { SchemaObject } from 'ajv'
import { checkOptions, type Clock, type OptionUnit, type PoolOptions, poolSchema, type Random, type UpstreamSpec } from '@headgate/core'
import type { SendProxyOptions } from './tcp/proxy-out.ts'
import type { RouteMatch } from './tcp/routes.ts'
import type { TlsSource } from './tcp/termination.ts'

/** Upstreams of a pool: a list, or all options. Addresses are `tcp://host:port`, `tls://host:port`, `unix:/path`; for UDP `udp://host:port`. */
export type StreamPool = readonly UpstreamSpec[] | PoolOptions

/** Where the connections of a listener, or of one of its routes, go. */
export interface Destination<P extends string = string> {
  /** Name of a pool, or the pool itself. */
  readonly pool: P | StreamPool
  /** Tell upstreams of the client by a PROXY header, before TLS where they are spoken to with it. @default none */
  readonly sendProxy?: 'v1' | 'v2' | SendProxyOptions
  /**
   * End the clients' TLS here: what `tls.createServer` takes, `key` and `cert` or `SNICallback` at least; or certificates that change
   * while it runs: `tls` of `@headgate/tls`, of which the plugin has to be there too. Upstreams named
   * `tls://` are spoken to with TLS of their own, with the pool's `connection.tls`. @default bytes pass as they are
   */
  readonly tls?: TlsOptions | TlsSource
}

/** One way out of a listener, chosen by the first bytes. */
export interface StreamRoute<P extends string = string> extends Destination<P> {
  /** All that is given must hold; or a function of the bytes that have come so far, which says `undefined` until it knows. */
  readonly match: RouteMatch
}

export interface AcceptProxyOptions {
  /** Peers that may send one: addresses, networks such as `10.0.0.0/8`, and `unix` for those of a Unix socket. */
  readonly from: readonly string[]
  /** Other peers: close them, or take them as clients without a header. @default 'close' */
  readonly others?: 'close' | 'plain'
  /** Milliseconds in which the header has to be complete, 1–600,000. @default 3000 */
  readonly timeout?: number
}

/** Bytes per second, each ≥ 1024. */
export interface BandwidthOptions {
  /** From one client. @default unlimited */
  readonly upload?: number
  /** To one client. @default unlimited */
  readonly download?: number
  /** From all clients of the listener. @default unlimited */
  readonly totalUpload?: number
  /** To all clients of the listener. @default unlimited */
  readonly totalDownload?: number
}

export interface TcpListenerOptions<P extends string = string> extends Partial<Destination<P>> {
  readonly protocol?: 'tcp'
  /** `host:port`, `[::1]:port`, `:port` (all interfaces) or `unix:/path`; port 0: any free one. */
  readonly listen: string
  /** For logs, metrics and `app.stream.listener(name)`. @default protocol and address */
  readonly name?: string
  /** Chosen by the first bytes; the first that matches is taken, else the listener's own `pool`. @default [] */
  readonly routes?: readonly StreamRoute<P>[]
  /** Upstreams tried after the first, 0–10, within the pool's retry budget; with 1 or more, who refuses is passed over without counting. @default 2 */
  readonly retries?: number
  /**
   * Bytes from the client that are kept for another upstream while none has answered, 0–1,048,576. A connection that dies
   * without an answer then starts anew elsewhere, and what the client sent may be carried out twice: 0 where that would harm.
   * @default 16384
   */
  readonly replayLimit?: number
  /** Milliseconds after its begin in which a connection may start anew, 0–60,000. @default 1000 */
  readonly replayWithin?: number
  /** Milliseconds without a byte in either direction, 1–86,400,000. @default 600000 */
  readonly idleTimeout?: number
  /** Milliseconds that a connection lives at most; 0: for ever. @default 0 */
  readonly maxConnectionAge?: number
  /** Send small pieces at once (TCP_NODELAY), to both sides. @default true */
  readonly noDelay?: boolean
  /** Milliseconds of silence after which the system probes whether the peer is there, both sides; 0: never. @default 60000 */
  readonly keepAlive?: number
  /** Connections at once; further ones are closed. @default unlimited */
  readonly maxConnections?: number
  /** Connections at once for each client address (IPv6: each /64). @default unlimited */
  readonly maxConnectionsPerClient?: number
  readonly bandwidth?: BandwidthOptions
  /** Milliseconds that clients have for the bytes that routes look at, 1–600,000. @default 5000 */
  readonly prereadTimeout?: number
  /** Milliseconds for a client's TLS handshake where TLS ends here, 1–600,000. @default 10000 */
  readonly handshakeTimeout?: number
  /** Take clients' addresses from a PROXY header (v1 or v2). @default no header is expected */
  readonly acceptProxy?: AcceptProxyOptions
  /** Close the connections of an upstream when active checks find it down. @default false */
  readonly closeWhenDown?: boolean
  /** Milliseconds that connections may live on when the app closes, 0–86,400,000. @default 30000 */
  readonly drainTimeout?: number
  /**
   * Bytes of the read buffer of each direction in which much flows, 8,192–16,777,216. Buffers of more than 64 KiB share 64 MiB for each
   * listener; where that is used up, further connections have 64 KiB. @default 262144
   */
  readonly readBufferSize?: number
}

export interface UdpListenerOptions<P extends string = string> {
  readonly protocol: 'udp'
  /** `host:port`, `[::1]:port` or `:port`; port 0: any free one. */
  readonly listen: string
  /** @default protocol and address */
  readonly name?: string
  /** Name of a pool, or the pool itself. */
  readonly pool: P | StreamPool
  /** Milliseconds without a datagram after which a client's session ends, 1–86,400,000. @default 60000 */
  readonly idleTimeout?: number
  /** Answers expected for each datagram, 0–1,000,000; a session ends with the last of them. @default any number, until it is idle */
  readonly responses?: number
  /** Sessions at once, 1–1,000,000; the one that was silent longest makes room. Each has a socket of its own. @default 10000 */
  readonly maxSessions?: number
  /** Sessions at once for each client address (IPv6: each /64). @default unlimited */
  readonly maxSessionsPerClient?: number
  /**
   * Upstreams tried after the first while none has answered, 0–10, within the pool's retry budget; with 1 or more, who is not there is
   * passed over without counting. @default 2
   */
  readonly retries?: number
  /** Milliseconds that sessions which wait for counted answers may live on when the app closes. @default 5000 */
  readonly drainTimeout?: number
}

export type ListenerOptions<P extends string = string> = TcpListenerOptions<P> | UdpListenerOptions<P>

export interface StreamOptions<P extends string = string> {
  /** Pools by name. @default {} */
  readonly pools?: Readonly<Record<P, StreamPool>>
  readonly listeners: readonly ListenerOptions<NoInfer<P>>[]
  /** Where time comes from. @default the system's */
  readonly clock?: Clock
  /** Where chance comes from. @default Math.random */
  readonly random?: Random
}

const time = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })
const size = (minimum: number, maximum: number): object => ({ type: 'integer', minimum, maximum, unit: 'bytes' satisfies OptionUnit })
const integer = (minimum: number, maximum: number): object => ({ type: 'integer', minimum, maximum })
const text = { type: 'string', minLength: 1 }
const texts = { anyOf: [text, { type: 'array', minItems: 1, items: text }] }
const DAY = 86_400_000

const destination = {
  pool: { type: ['string', 'array', 'object'] },
  sendProxy: {
    anyOf: [
      { type: 'string', enum: ['v1', 'v2'] },
      {
        type: 'object',
        additionalProperties: false,
        required: ['version'],
        properties: {
          version: { const: 2 },
          checksum: { type: 'boolean' },
          authority: { type: 'boolean' },
          alpn: { type: 'boolean' },
          uniqueId: { type: 'boolean' }
        } satisfies Record<keyof SendProxyOptions, object>
      }
    ]
  },
  tls: { type: 'object' }
} satisfies Record<keyof Destination, object>

const route = {
  type: 'object',
  additionalProperties: false,
  required: ['match', 'pool'],
  properties: {
    ...destination,
    match: {
      anyOf: [
        { isFunction: true },
        {
          type: 'object',
          additionalProperties: false,
          minProperties: 1,
          properties: {
            protocol: { type: 'string', enum: ['tls', 'http', 'ssh'] },
            serverName: texts,
            alpn: texts
          } satisfies Record<keyof Exclude<RouteMatch, (...args: never[]) => unknown>, object>
        }
      ]
    }
  } satisfies Record<keyof StreamRoute, object>
}

const tcpSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  required: ['listen'],
  properties: {
    ...destination,
    protocol: { const: 'tcp' },
    listen: text,
    name: text,
    routes: { type: 'array', items: route },
    retries: integer(0, 10),
    replayLimit: size(0, 1_048_576),
    replayWithin: time(0, 60_000),
    idleTimeout: time(1, DAY),
    maxConnectionAge: time(0, 1e10),
    noDelay: { type: 'boolean' },
    keepAlive: time(0, DAY),
    maxConnections: integer(1, 1e9),
    maxConnectionsPerClient: integer(1, 1e9),
    bandwidth: {
      type: 'object',
      additionalProperties: false,
      properties: {
        upload: size(1024, 1e12), download: size(1024, 1e12), totalUpload: size(1024, 1e12), totalDownload: size(1024, 1e12)
      } satisfies Record<keyof BandwidthOptions, object>
    },
    prereadTimeout: time(1, 600_000),
    handshakeTimeout: time(1, 600_000),
    acceptProxy: {
      type: 'object',
      additionalProperties: false,
      required: ['from'],
      properties: {
        from: { type: 'array', minItems: 1, items: text },
        others: { type: 'string', enum: ['close', 'plain'] },
        timeout: time(1, 600_000)
      } satisfies Record<keyof AcceptProxyOptions, object>
    },
    closeWhenDown: { type: 'boolean' },
    drainTimeout: time(0, DAY),
    readBufferSize: size(8192, 16_777_216)
  } satisfies Record<keyof TcpListenerOptions, object>
}

const udpSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  required: ['listen', 'pool'],
  properties: {
    protocol: { const: 'udp' },
    listen: text,
    name: text,
    pool: { type: ['string', 'array', 'object'] },
    idleTimeout: time(1, DAY),
    responses: integer(0, 1_000_000),
    maxSessions: integer(1, 1_000_000),
    maxSessionsPerClient: integer(1, 1_000_000),
    retries: integer(0, 10),
    drainTimeout: time(0, DAY)
  } satisfies Record<keyof UdpListenerOptions, object>
}

const pluginSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  required: ['listeners'],
  properties: {
    pools: { type: 'object' },
    listeners: { type: 'array', minItems: 1, items: { type: 'object', properties: { protocol: { type: 'string', enum: ['tcp', 'udp'] } } } },
    clock: { type: 'object' },
    random: { isFunction: true }
  } satisfies Record<keyof StreamOptions, object>
}

/** Is it a pool of `udp://` upstreams? `undefined` where nothing in it says. */
export function isUdp (given: StreamPool): boolean | undefined {
  const { upstreams, discovery } = Array.isArray(given) ? { upstreams: given as unknown, discovery: undefined } : given as PoolOptions
  if (discovery !== undefined && 'protocol' in discovery) return discovery.protocol === 'udp'
  const first: unknown = Array.isArray(upstreams) ? upstreams[0] : undefined
  const url = typeof first === 'object' && first !== null ? (first as { readonly url?: unknown }).url : first
  return typeof url === 'string' ? url.startsWith('udp:') : undefined
}

/** Checks the plugin's options, but for what pools, addresses and certificates are checked for when they are made. */
export function checkStream (options: StreamOptions, path: string): void {
  checkOptions(pluginSchema, options, path)
  for (const [index, listener] of options.listeners.entries()) {
    checkOptions(listener.protocol === 'udp' ? udpSchema : tcpSchema, listener, `${path}.listeners[${index}]`)
  }
}

const upstreamList = { type: 'array', items: { type: ['string', 'object'] } }
const anyPool = { anyOf: [upstreamList, poolSchema] }
const poolOrName = { anyOf: [text, ...anyPool.anyOf] }

/** Where times and sizes stand in a whole configuration, pools included, and what may stand there: for programs that read files. */
export const streamSchema: SchemaObject = {
  type: 'object',
  properties: {
    pools: { additionalProperties: anyPool },
    listeners: {
      type: 'array',
      items: {
        properties: {
          ...udpSchema['properties'] as object, ...tcpSchema['properties'] as object, protocol: { type: 'string', enum: ['tcp', 'udp'] }, pool: poolOrName,
          routes: { type: 'array', items: { properties: { ...route.properties, pool: poolOrName } } }
        }
      }
    }
  }
}
