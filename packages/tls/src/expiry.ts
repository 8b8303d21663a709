import { channels, type CertificateMessage, type Clock, type Timer } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import type { Certificate } from './certificate.ts'

const DAY = 86_400_000

/** Publishes what became of a certificate. */
export function tell (certificate: Certificate, change: CertificateMessage['change'], reason = ''): void {
  if (!channels.certificate.hasSubscribers) return
  const { name, hosts, fingerprint, notAfter } = certificate
  channels.certificate.publish({ name, change, hosts, fingerprint, notAfter, reason })
}

/** Looks once a day at how long certificates still last. */
export class ExpiryWatch {
  readonly #certificates: () => readonly Certificate[]
  readonly #warnBefore: number
  readonly #clock: Clock
  readonly #log: FastifyBaseLogger
  #timer: Timer

  constructor (certificates: () => readonly Certificate[], warnBefore: number, clock: Clock, log: FastifyBaseLogger) {
    this.#certificates = certificates
    this.#warnBefore = warnBefore
    this.#clock = clock
    this.#log = log
  }

  start (): void {
    this.#look()
    this.#timer = this.#clock.setTimeout(() => { this.start() }, DAY)
  }

  stop (): void {
    this.#clock.clearTimeout(this.#timer)
  }

  #look (): void {
    const now = this.#clock.wall()
    for (const certificate of this.#certificates()) {
      const { name, hosts, notAfter } = certificate
      const left = notAfter - now
      if (left > this.#warnBefore) continue
      const fields = { certificate: name, hosts, notAfter: new Date(notAfter).toISOString() }
      if (left <= 0) this.#log.error(fields, 'a certificate has expired')
      else this.#log.warn({ ...fields, daysLeft: Math.floor(left / DAY) }, 'a certificate expires soon')
      tell(certificate, left <= 0 ? 'expired' : 'expiring')
    }
  }
}
