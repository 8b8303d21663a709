import { channel, type Channel } from 'node:diagnostics_channel'
import type { HealthChange } from './health.ts'
import type { Lease, Outcome } from './lease.ts'
import type { Pool } from './pool.ts'

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
  /** The request's method; '' where there is none (layer 4). */
  readonly method: string
  /** Bytes of bodies (of all that passed, for tunnels) to and from the upstream. */
  readonly sent: number
  readonly received: number
  /** What ended, and where: to tell apart the apps of one process, and to find what was told of its start. */
  readonly lease: Lease
  readonly source: Pool
}

/** An attempt is about to be sent. Whoever listens may add fields to `headers` (trace context). */
export interface DispatchMessage {
  readonly lease: Lease
  readonly source: Pool
  /** Fastify's request; for requests of a dispatcher, what undici was asked for. */
  readonly request: object
  readonly method: string
  /** The target as sent. */
  readonly path: string
  /** Flat list of names and values, to be changed in place. */
  readonly headers: string[]
}

/** A connection to an upstream was opened. */
export interface ConnectMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  /** Milliseconds for DNS, TCP and TLS together. */
  readonly latency: number
  readonly source: Pool
}

/** A request left its pool's queue. */
export interface QueueMessage {
  readonly pool: string
  /** Milliseconds spent in the queue. */
  readonly wait: number
  readonly outcome: 'granted' | 'timeout' | 'none-ready' | 'client-closed'
  readonly source: Pool
}

/** A layer 4 connection or UDP session ended, or was refused before it had an upstream. Times in milliseconds. */
export interface StreamMessage {
  /** The listener's name. */
  readonly listener: string
  readonly protocol: 'tcp' | 'udp'
  /** '' when it ended before a pool was chosen, or an upstream. */
  readonly pool: string
  readonly upstream: string
  readonly url: string
  /** The client's address, as a trusted PROXY header tells it where there is one. */
  readonly client: string
  /** Why it ended, in a word: `closed` when its ends closed it. */
  readonly reason: string
  /** Bytes from the client to the upstream, and back. */
  readonly sent: number
  readonly received: number
  readonly duration: number
  /** From the last pick to the connection (UDP: to the first answer); −1 without one. */
  readonly connectLatency: number
  /** Upstreams tried. */
  readonly attempts: number
}

export interface HealthMessage extends HealthChange {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  readonly source: Pool
}

/** An active check of an upstream ended; published for each. */
export interface ProbeMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  /** `http`, `tcp`, `ping` …, or `agent`. */
  readonly kind: string
  readonly ok: boolean
  readonly reason: string
  /** Milliseconds that it took. */
  readonly latency: number
  /** Milliseconds since the Unix epoch. */
  readonly at: number
  readonly source: Pool
}

/** An upstream said how busy it is. */
export interface LoadMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  /** How it said so: a response header, an agent's line, or `Retry-After`. */
  readonly from: 'header' | 'agent' | 'retry-after'
  /** 0 is idle, 1 is full; −1 when it did not say. */
  readonly utilization: number
  readonly source: Pool
}

/** Passive evidence asked for an ejection that `maxEjectionPercent` forbade. */
export interface SparedMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  readonly reason: string
  readonly source: Pool
}

export interface MembershipMessage {
  readonly pool: string
  readonly upstream: string
  readonly url: string
  readonly change: 'added' | 'removed' | 'drained' | 'weight'
  readonly weight: number
  readonly source: Pool
}

/**
 * What became of what a pool's discovery said. `changed`: members joined, left or changed. `kept`: it named nobody, and the members
 * stay. `failed`: there was no answer, or a wrong one, and the members stay.
 */
export interface DiscoveryMessage {
  readonly pool: string
  /** The kind of discovery: `dns`, `file` … */
  readonly kind: string
  readonly result: 'changed' | 'kept' | 'failed'
  /** Members that it brought and that are in the pool now. */
  readonly members: number
  readonly added: number
  readonly removed: number
  readonly changed: number
  /** What went wrong; '' otherwise. */
  readonly error: string
  readonly source: Pool
}

export interface PanicMessage {
  readonly pool: string
  readonly panic: boolean
  /** Members that would be ready without the override, and all that could be. */
  readonly ready: number
  readonly eligible: number
  readonly source: Pool
}

export interface ShedMessage {
  readonly pool: string
  readonly reason: 'queue-full' | 'queue-timeout' | 'none-ready' | 'no-sockets'
  readonly source: Pool
}

export interface RetryMessage {
  readonly pool: string
  /** What made the attempt fail, or `budget` when the retry was refused for lack of budget. */
  readonly reason: string
  readonly refused: boolean
  readonly source: Pool
}

/**
 * What became of a session. `new`: a client was bound. `hit`: it went where it belongs. `rebind`: it belongs to another from now
 * on, since its upstream could not be used. `borrow`: another answered this once. `rebalance`: it was moved to a newcomer.
 * `withheld`: it should have been given a cookie, but a shared cache may store the response. `forged`, `malformed`, `oversized`,
 * `duplicated`, `expired`, `unknown` (names an upstream that is not in the pool any more): what the client brought was ignored.
 * `failed`: the table's store, or the user's key function, did not answer.
 */
export type StickyResult =
  | 'new' | 'hit' | 'rebind' | 'borrow' | 'rebalance' | 'withheld'
  | 'forged' | 'malformed' | 'oversized' | 'duplicated' | 'expired' | 'unknown' | 'failed'

/** What a request did to whom its client belongs to. */
export interface StickyMessage {
  readonly pool: string
  /** The kind of affinity: `cookie`, `source-ip` … */
  readonly by: string
  readonly result: StickyResult
  /** The upstream that it is about; '' when there is none. */
  readonly upstream: string
  readonly source: Pool
}

/**
 * A TLS certificate that clients are shown: `loaded` (at start, and whenever it was replaced), `expiring` and `expired` (once a day),
 * `failed` (a new one could not be used: the one told of stays), `removed`.
 */
export interface CertificateMessage {
  readonly name: string
  readonly change: 'loaded' | 'expiring' | 'expired' | 'failed' | 'removed'
  /** Host names that it is shown for. */
  readonly hosts: readonly string[]
  /** SHA-256 in upper-case hexadecimal with colons; '' when there is none yet. */
  readonly fingerprint: string
  /** End of its validity, milliseconds since the Unix epoch; NaN when there is none yet. */
  readonly notAfter: number
  /** Why it failed; '' when it did not. */
  readonly reason: string
}

/**
 * A client met a limit of HTTP/2: `resets`, `pings`, `settings` (more than the rate allows), `header-list` (a request with more
 * fields than allowed), `invalid-frames`, `continuations`, `unread-answers`, `protocol` (node:http2 closed the connection for them).
 */
export interface Http2LimitMessage {
  readonly reason: 'resets' | 'pings' | 'settings' | 'header-list' | 'invalid-frames' | 'continuations' | 'unread-answers' | 'protocol'
  /** The connection was closed for it. */
  readonly closed: boolean
  readonly remoteAddress: string
}

/**
 * What became of a request's copy for a shadow pool. `dropped`: it was not sent, or given up, by `reason`: `busy`, `body-too-large`,
 * `body-too-slow`, `body-broken`, `none-ready`, `saturated`, `closing`.
 */
export interface MirrorMessage {
  /** The shadow pool. */
  readonly pool: string
  /** '' where it was not sent. */
  readonly upstream: string
  readonly url: string
  readonly result: 'answered' | 'failed' | 'timed-out' | 'dropped'
  /** Why, in a word; '' when it was answered. */
  readonly reason: string
  /** 0 without a response head. */
  readonly status: number
  /** Milliseconds from the pick to the end. */
  readonly duration: number
  readonly source: Pool
}

/** One place in which a shadow's answer differs from the client's. */
export interface AnswerDifference {
  readonly part: 'status' | 'header' | 'body'
  /** Name of the field; in JSON a pointer (RFC 6901); '' for the whole. */
  readonly at: string
  /** `missing`: only the client's answer has it; `added`: only the shadow's. */
  readonly change: 'changed' | 'missing' | 'added'
  /** What they are, shortened; only where the route asks for values. */
  readonly expected?: string
  readonly actual?: string
}

/** A shadow's answer was compared with the client's. Times in milliseconds from the request to the response head, −1 without one. */
export interface ComparisonMessage {
  /** The shadow pool. */
  readonly pool: string
  /** As Fastify has it. */
  readonly route: string
  readonly requestId: string
  readonly method: string
  /** The target as sent. */
  readonly path: string
  /** `skipped`, by `reason`: `primary-incomplete`, `shadow-incomplete`, `too-large`, `not-decoded`. */
  readonly result: 'same' | 'different' | 'skipped'
  readonly reason: string
  /** At most 20 of them. */
  readonly differences: readonly AnswerDifference[]
  /** All of them. */
  readonly count: number
  readonly primaryStatus: number
  readonly shadowStatus: number
  readonly primaryLatency: number
  readonly shadowLatency: number
  readonly source: Pool
}

/** A channel of which the payload's type is known. Build a message only when `hasSubscribers`. */
export type TypedChannel<T> = Omit<Channel, 'publish'> & { publish (message: T): void }

const typed = <T>(name: string): TypedChannel<T> => channel(name) as TypedChannel<T>

/** Every `diagnostics_channel` that Headgate's packages for pools and their health publish to. */
export const channels: {
  readonly attempt: TypedChannel<AttemptMessage>
  readonly dispatch: TypedChannel<DispatchMessage>
  readonly connect: TypedChannel<ConnectMessage>
  readonly queue: TypedChannel<QueueMessage>
  readonly health: TypedChannel<HealthMessage>
  readonly probe: TypedChannel<ProbeMessage>
  readonly load: TypedChannel<LoadMessage>
  readonly spared: TypedChannel<SparedMessage>
  readonly membership: TypedChannel<MembershipMessage>
  readonly discovery: TypedChannel<DiscoveryMessage>
  readonly panic: TypedChannel<PanicMessage>
  readonly shed: TypedChannel<ShedMessage>
  readonly retry: TypedChannel<RetryMessage>
  readonly stream: TypedChannel<StreamMessage>
  readonly sticky: TypedChannel<StickyMessage>
  readonly certificate: TypedChannel<CertificateMessage>
  readonly http2Limit: TypedChannel<Http2LimitMessage>
  readonly mirror: TypedChannel<MirrorMessage>
  readonly comparison: TypedChannel<ComparisonMessage>
} = {
  attempt: typed('headgate:balancer:attempt'),
  dispatch: typed('headgate:balancer:dispatch'),
  connect: typed('headgate:upstream:connect'),
  queue: typed('headgate:pool:queue'),
  health: typed('headgate:upstream:health'),
  probe: typed('headgate:upstream:probe'),
  load: typed('headgate:upstream:load'),
  spared: typed('headgate:upstream:spared'),
  membership: typed('headgate:pool:membership'),
  discovery: typed('headgate:pool:discovery'),
  panic: typed('headgate:pool:panic'),
  shed: typed('headgate:pool:shed'),
  retry: typed('headgate:balancer:retry'),
  stream: typed('headgate:stream:end'),
  sticky: typed('headgate:sticky:binding'),
  certificate: typed('headgate:tls:certificate'),
  http2Limit: typed('headgate:http2:limit'),
  mirror: typed('headgate:balancer:mirror'),
  comparison: typed('headgate:balancer:comparison')
}
