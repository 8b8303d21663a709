/**
 * What one upstream is doing now, as this process sees it. Written by leases alone; policies, health and metrics read it.
 */
export class Load {
  /** Attempts that hold a lease on this upstream now, tunnels included. */
  inFlight = 0
  /** Leases given since the upstream joined. */
  picked = 0
  /** Attempts that ended with an answer below 500. */
  succeeded = 0
  /** Attempts that ended without an answer, or with a 5xx. */
  failed = 0
  /** Milliseconds from pick to response head: a moving mean that weighs each new answer with 1/20; 0 before the first. */
  latency = 0
  /**
   * What the upstream said of its own load: 0 is idle, 1 is full; `undefined` when it never said or too long ago.
   * Set by whoever reads the reports (response header, agent); read by the `reported-load` policy.
   */
  reported: number | undefined = undefined

  started (): void {
    this.inFlight++
    this.picked++
  }

  /** `latency` in milliseconds, or a negative number when there was no response head. */
  finished (ok: boolean, latency: number): void {
    this.inFlight--
    if (ok) this.succeeded++
    else this.failed++
    if (latency >= 0) this.latency = this.latency === 0 ? latency : this.latency + (latency - this.latency) / 20
  }
}
