import type { Clock, Timer } from '@headgate/core'
import type { Certificate } from '../certificate.ts'
import { goodUntil, ocspRequest } from './message.ts'

const RETRY = 300_000
const LONGEST = 86_400_000
const TIMEOUT = 10_000
const LARGEST = 65_536

interface Staple {
  readonly response: Buffer
  /** Milliseconds since the Unix epoch. */
  readonly until: number
}

/** Keeps responses of OCSP responders, for certificates that name one, to be handed out in handshakes (RFC 6066 8). */
export class Staples {
  readonly #clock: Clock
  readonly #failed: (certificate: Certificate, error: unknown) => void
  readonly #staples = new Map<string, Staple>()
  /** By name: the key in the map above, and when the responder is asked again. */
  readonly #followed = new Map<string, { readonly key: string; timer: Timer }>()
  #stopped = false

  constructor (clock: Clock, failed: (certificate: Certificate, error: unknown) => void) {
    this.#clock = clock
    this.#failed = failed
  }

  /** Asks for this one from now on, instead of the last one of its name. */
  follow (certificate: Certificate): void {
    this.forget(certificate.name)
    if (certificate.responder === '' || certificate.issuer === undefined) return
    this.#followed.set(certificate.name, { key: certificate.leaf.raw.toString('latin1'), timer: undefined })
    void this.#ask(certificate)
  }

  forget (name: string): void {
    const known = this.#followed.get(name)
    if (known === undefined) return
    this.#clock.clearTimeout(known.timer)
    this.#followed.delete(name)
    this.#staples.delete(known.key)
  }

  /** For a certificate in DER; `null`: there is none that is still good. */
  find (certificate: Buffer): Buffer | null {
    const staple = this.#staples.get(certificate.toString('latin1'))
    return staple !== undefined && !(staple.until <= this.#clock.wall()) ? staple.response : null
  }

  stop (): void {
    this.#stopped = true
    for (const { timer } of this.#followed.values()) this.#clock.clearTimeout(timer)
  }

  async #ask (certificate: Certificate): Promise<void> {
    const { name, leaf, issuer, responder } = certificate
    const key = leaf.raw.toString('latin1')
    let wait = RETRY
    try {
      const answer = await fetch(responder, {
        method: 'POST', headers: { 'content-type': 'application/ocsp-request' }, body: ocspRequest(leaf, issuer!), signal: AbortSignal.timeout(TIMEOUT)
      })
      if (!answer.ok) throw new Error(`the OCSP responder answered ${answer.status}`)
      const response = Buffer.from(await answer.arrayBuffer())
      if (response.length > LARGEST) throw new Error('the OCSP response is too large')
      const now = this.#clock.wall()
      const until = goodUntil(response, leaf, issuer!, now)
      this.#staples.set(key, { response, until })
      // Half of its life is left for responders that are down.
      wait = Math.max(RETRY, Math.min(LONGEST, Number.isNaN(until) ? LONGEST : (until - now) / 2))
    } catch (error) {
      this.#failed(certificate, error)
    }
    const known = this.#followed.get(name)
    if (this.#stopped || known?.key !== key) return void this.#staples.delete(key)
    known.timer = this.#clock.setTimeout(() => void this.#ask(certificate), wait)
  }
}
