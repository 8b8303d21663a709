/**
 * What is spoken to an upstream. `h1`: HTTP/1.1. `h2`: HTTP/2 over TLS. `h2c`: HTTP/2 in the clear, with prior knowledge.
 * `auto`: over TLS what the upstream chooses in the handshake (ALPN), else HTTP/1.1.
 */
export type Protocol = 'h1' | 'h2' | 'h2c' | 'auto'

export const protocols: readonly Protocol[] = ['h1', 'h2', 'h2c', 'auto']

/** Settings of connections that speak HTTP/2. */
export interface Http2Options {
  /** Connections to one upstream at most, 1–1024; requests beyond what they carry wait for a place. @default 64 */
  readonly maxConnections?: number
  /** Requests at once on one connection, 1–1,000,000; fewer where the upstream's SETTINGS allow fewer. @default 100 */
  readonly maxStreams?: number
  /** Bytes of each response that are taken ahead of its client, 65,535–1,073,741,824. @default 262144 */
  readonly windowSize?: number
  /**
   * Milliseconds of silence after which a connection with running requests has to answer a PING, 0 (never) – 3,600,000. As the
   * silence goes on it is asked every 5 minutes, which is as often as gRPC servers bear. @default 30000
   */
  readonly pingInterval?: number
  /** Milliseconds for the answer, after which the connection counts as dead, 1–600,000. @default 10000 */
  readonly pingTimeout?: number
}
