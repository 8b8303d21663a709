import type { Duplex } from 'node:stream'
import type { UpstreamTlsOptions } from '../upstream-tls.ts'
import type { Http2Options } from './http2/options.ts'

/** One attempt to be sent to one upstream. */
export interface TransportRequest {
  readonly method: string
  /** Origin-form target (or `*` for OPTIONS), already checked: visible ASCII only. Sent byte for byte. */
  readonly path: string
  /**
   * Flat list of names and values, in order, already stripped of hop-by-hop fields, `Host` included. The transport adds
   * `Connection`, the framing fields that `body` asks for, and for upgrades what `upgrade` asks for; nothing else.
   */
  readonly headers: readonly string[]
  /**
   * `null`: no body (and no framing field, but `Content-Length: 0` when `emptyBody`). A Buffer: complete, sent with the head
   * in one write. `{ length }`: streamed with `write` and `end`; `length` undefined means chunked.
   */
  readonly body: null | Buffer | { readonly length: number | undefined }
  /** The client sent `Content-Length: 0`: keep it. */
  readonly emptyBody: boolean
  /** Value of `Upgrade` for requests that ask to switch protocols; such a request has no streamed body. */
  readonly upgrade: string | undefined
  /** Send `Expect: 100-continue`; the owner of the body waits for `onInformational(100)` or `onHead` by itself. */
  readonly expectContinue: boolean
  /** Names of trailer fields follow the body: announces them (RFC 9110 6.6.2). */
  readonly trailerNames?: string | undefined
  /** It is not sent a second time: it gets a connection of which it is known that the upstream had it open just now. */
  readonly once?: boolean
}

/** How far an attempt had come when it failed: decides whether it may be repeated. */
export type FailurePhase =
  /**
   * No byte of the request was written, or the upstream has said that it did not look at it (HTTP/2's GOAWAY and REFUSED_STREAM,
   * RFC 9113 8.7): any method may go elsewhere.
   */
  | 'connect'
  /** Bytes were (or may have been) written; no byte of the response was seen. */
  | 'request'
  /** Part of a response head was seen, or it was malformed; the handler got no `onHead`. */
  | 'head'
  /** After `onHead`: the response is broken off. */
  | 'body'

/** Why an attempt failed. `code` is stable and goes to logs and metrics. */
export type FailureCode =
  | 'connect-refused' | 'connect-timeout' | 'connect-failed' | 'dns' | 'tls' | 'reset' | 'closed' | 'malformed'
  | 'head-too-large' | 'truncated' | 'destroyed' | 'request-too-long'
  | 'refused'
  /** This process can open no more sockets: the upstream is not to blame. */
  | 'no-sockets'

export class TransportError extends Error {
  readonly code: FailureCode
  readonly phase: FailurePhase
  /**
   * The connection had served an earlier request and ended before any byte of the response: the keep-alive race, which is
   * no fault of the upstream (RFC 9112 9.3.1).
   */
  readonly stale: boolean

  constructor (code: FailureCode, phase: FailurePhase, message: string, options: { cause?: unknown; stale?: boolean } = {}) {
    super(message, { cause: options.cause })
    this.name = 'TransportError'
    this.code = code
    this.phase = phase
    this.stale = options.stale ?? false
  }
}

/**
 * Told of one attempt's events, in this order: `onSent`? `onInformational`* (`onHead` `onData`* `onComplete` | `onUpgrade`),
 * or at any point before the end `onError`, which is the last. None is called after `abort`. None may throw.
 */
export interface AttemptHandler {
  /** Only for streamed bodies: a connection is there and the head is being written; start to write. */
  onSent (): void
  /** 1xx but 101: forwarded or used by the owner. */
  onInformational (status: number, headers: readonly string[]): void
  /**
   * The final response's head. `headers` is a flat list as received, hop-by-hop fields included, values trimmed, latin1.
   * `length` is the body's length where it is known (0 for bodiless answers), else −1. `complete`: no `onData` will follow.
   */
  onHead (status: number, reason: string, headers: readonly string[], length: number, complete: boolean): void
  /**
   * A piece of the body. **Valid only during the call** (the read buffer is used again): write it out or copy it. False:
   * stop reading until `resume()`; the piece stays as it is until then (or until the end by `abort` or `onError`, after which
   * it is never written over). `last`: the body is complete with it; `onComplete` follows, after `resume()` if this is false.
   */
  onData (chunk: Buffer, last: boolean): boolean
  /** The response is complete and correctly framed. `trailers` is a flat list. */
  onComplete (trailers: readonly string[] | undefined): void
  /** The streamed request body may go on after a `write` that returned false. */
  onDrain (): void
  /** 101 to a request with `upgrade`. `head` is what followed the response head. The socket is the handler's from here. */
  onUpgrade (headers: readonly string[], socket: Duplex, head: Buffer): void
  onError (error: TransportError): void
}

/** The owner's hold on a running attempt. */
export interface Attempt {
  /** The request body's next piece. False: wait for `onDrain`. Ignored after the end. */
  write (chunk: Buffer): boolean
  /**
   * As `write`, of bytes that are the owner's again, to be written over, as soon as this has returned true, or else with the
   * next `onDrain`. Only where the transport can tell.
   */
  lend? (chunk: Buffer): boolean
  /** The system has taken all that was written: nothing here looks at the pieces any more. Only where the transport can tell. */
  readonly flushed?: boolean
  /**
   * The body is complete. `trailers` only for chunked bodies; flat list. A body that is shorter than its declared length
   * ends the attempt with `truncated`, one that is longer with `request-too-long`.
   */
  end (trailers?: readonly string[]): void
  /** Go on after an `onData` that returned false. May call the handler. */
  resume (): void
  /**
   * Ends the attempt without another call of the handler. The connection is closed unless the exchange was already
   * complete. Safe at any time, also twice, also long after the end.
   */
  abort (): void
}

export interface TransportStats {
  /** Connections that are open, idle ones included. */
  readonly open: number
  readonly idle: number
  /** Connections being set up. */
  readonly connecting: number
}

/** Speaks to one upstream. */
export interface Transport {
  /** Never throws; never calls the handler before it has returned. */
  dispatch (request: TransportRequest, handler: AttemptHandler): Attempt
  readonly stats: TransportStats
  /**
   * Closes idle connections now and busy ones when their exchange (tunnels included) ends; resolves when none is left. What
   * is dispatched from now on fails with `destroyed`.
   */
  close (): Promise<void>
  /** Breaks all connections; running attempts get `onError` with code `destroyed`. */
  destroy (): void
}

export interface TransportOptions {
  /** Milliseconds for DNS, TCP and TLS together, 1–600,000. @default 2000 */
  readonly connectTimeout?: number
  /** Milliseconds that an idle connection is kept when the upstream says nothing, 0 (never kept) – 3,600,000. @default 4000, HTTP/2: 60000 */
  readonly keepAliveTimeout?: number
  /**
   * Milliseconds since its last use in which an idle connection may get a request that is not sent twice (a POST), 0 (never) –
   * 3,600,000. Later such a request opens one: an upstream that closes the old one at that moment would make it fail. @default 1000
   */
  readonly freshFor?: number
  /** Idle connections kept at most, 0–65,535. @default 256 */
  readonly maxIdle?: number
  /** Requests on one connection before it is closed, ≥ 1. @default unlimited */
  readonly maxRequestsPerConnection?: number
  /** Milliseconds of age after which a connection is not used again. @default 3600000 */
  readonly maxConnectionAge?: number
  /** Bytes of a response head (and of trailers) accepted. @default 65536 */
  readonly maxHeadSize?: number
  /**
   * Transfer codings of responses that are taken beside none at all. `chunked`: what RFC 9112 6.1 allows without having been asked for; all else is
   * refused (502). `unknown`: one that nobody knows, such as `identity` of RFC 2616, counts as none, and the body ends with the connection
   * (RFC 9112 6.3); codings that would have to be undone, or that stand before `chunked`, are refused all the same. @default 'chunked'
   */
  readonly transferCodings?: 'chunked' | 'unknown'
  /**
   * Bytes of the read buffer of each connection that is busy, 4096–16,777,216. Larger ones cost fewer system calls for large
   * bodies; what is not filled takes no memory. @default 262144
   */
  readonly readBufferSize?: number
  /**
   * TLS to `https:` upstreams: what `tls.connect` takes, with paths of files for `ca`, `cert`, `key` and `crl` too, and `pins`.
   * Certificates are verified unless `rejectUnauthorized: false`.
   */
  readonly tls?: UpstreamTlsOptions
  /** HTTP/2's own settings, for upstreams whose `protocol` asks for it. Of the above it does without `maxIdle` and `readBufferSize`. */
  readonly http2?: Http2Options
}
