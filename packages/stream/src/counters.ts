/** What a listener has done since it was made. */
export class Counters {
  /** Connections or sessions that came in, refused ones included. */
  accepted = 0
  /** Those that are there now. */
  active = 0
  /** Bytes from clients to upstreams, and back. */
  sent = 0
  received = 0
  /** Attempts to reach an upstream that failed, by reason. */
  readonly failures: Map<string, number> = new Map()
  /** How connections and sessions ended, by reason: `closed` is the usual one. */
  readonly ends: Map<string, number> = new Map()

  failed (reason: string): void {
    this.failures.set(reason, (this.failures.get(reason) ?? 0) + 1)
  }

  ended (reason: string, sent: number, received: number): void {
    this.ends.set(reason, (this.ends.get(reason) ?? 0) + 1)
    this.sent += sent
    this.received += received
  }
}
