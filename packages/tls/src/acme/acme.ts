import type { Socket } from 'node:net'
import { createSecureContext, createServer, type Server, type TlsOptions } from 'node:tls'
import { ClientHelloReader, type Clock, type Timer } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import type { Certificate } from '../certificate.ts'
import { hostName } from '../host-index.ts'
import { type AcmeCertificateOptions, acmeName, type AcmeOptions } from './options.ts'
import { order } from './order.ts'
import { SharedAcmeStorage } from './shared-storage.ts'
import { AcmeStorage, type CertificateStorage } from './storage.ts'

const PROTOCOL = 'acme-tls/1'
type SNI = NonNullable<TlsOptions['SNICallback']>
/** Another process may renew, or have renewed: the storage is looked at this often. */
const LOOK = 3_600_000
const BUSY = 60_000
const FIRST_RETRY = 60_000
const LONGEST_RETRY = 86_400_000

export interface AcmeParts {
  readonly options: AcmeOptions
  readonly clock: Clock
  readonly random: () => number
  /** Checks a certificate of this name, with its key in the same PEM. */
  readonly load: (name: string, pem: Buffer, hosts: readonly string[]) => Promise<Certificate>
  readonly current: (name: string) => Certificate | undefined
  readonly use: (certificate: Certificate) => void
  readonly failed: (name: string, error: unknown) => void
}

/** Keeps certificates of an ACME authority: orders them, renews them before their end, and answers its challenges. */
export class Acme {
  readonly storage: CertificateStorage
  readonly #parts: AcmeParts
  readonly #timers = new Map<string, Timer>()
  readonly #challenges: Server
  #log: FastifyBaseLogger | undefined
  #stopped = false

  constructor (parts: AcmeParts) {
    this.#parts = parts
    const { storage } = parts.options
    this.storage = typeof storage === 'string' ? new AcmeStorage(storage) : new SharedAcmeStorage(storage)
    const SNICallback: SNI = (host, callback) => { this.#prove(host, callback) }
    this.#challenges = createServer({ ALPNProtocols: [PROTOCOL], SNICallback }, (socket) => { socket.end() })
    this.#challenges.on('tlsClientError', (_error, socket) => { socket.destroy() })
  }

  /** Takes what there is already. */
  async prepare (): Promise<void> {
    await this.storage.prepare()
    for (const certificate of this.#parts.options.certificates) {
      try {
        await this.#fromStorage(certificate)
      } catch (error) {
        // It is tried again as soon as the app listens.
        this.#parts.failed(acmeName(certificate), error)
      }
    }
  }

  /** Orders what is missing, now that the authority can reach us, and goes on. */
  start (log: FastifyBaseLogger): void {
    this.#log = log
    for (const certificate of this.#parts.options.certificates) void this.#turn(certificate, 0)
  }

  stop (): void {
    this.#stopped = true
    for (const timer of this.#timers.values()) this.#parts.clock.clearTimeout(timer)
  }

  /**
   * Is this the authority's TLS-ALPN-01 (RFC 8737)? Then the connection goes no further. A look for the protocol's name comes first:
   * other handshakes cost no more than that.
   */
  inspect (first: Buffer, socket: Socket): 'pass' | 'more' | 'taken' {
    if (first[0] !== 22 || !first.includes(PROTOCOL, 0, 'latin1')) return 'pass'
    const reader = new ClientHelloReader()
    reader.push(first)
    if (reader.state === 'more') return 'more'
    if (reader.hello?.alpn.includes(PROTOCOL) !== true) return 'pass'
    setImmediate(() => {
      socket.unshift(first)
      this.#challenges.emit('connection', socket)
    })
    return 'taken'
  }

  #prove (name: string, callback: (error: Error | null, context?: ReturnType<typeof createSecureContext>) => void): void {
    const answer = (pem: Buffer | undefined): void => {
      if (pem === undefined) return callback(new Error('no challenge is open for this host'))
      callback(null, createSecureContext({ key: pem, cert: pem }))
    }
    const host = hostName(name)
    this.#log?.debug({ host }, 'the ACME authority asks by TLS-ALPN-01')
    void this.storage.proof(host).then(answer, () => { answer(undefined) })
  }

  async #turn (certificate: AcmeCertificateOptions, failures: number): Promise<void> {
    const name = acmeName(certificate)
    const { clock, random, failed } = this.#parts
    let wait: number
    let next = 0
    try {
      await this.#fromStorage(certificate)
      const due = this.#due(name)
      if (due > 0) wait = Math.min(due, LOOK)
      else wait = await this.#order(certificate, name) ? LOOK : BUSY
    } catch (error) {
      failed(name, error)
      next = failures + 1
      wait = Math.min(FIRST_RETRY * 2 ** failures, LONGEST_RETRY)
    }
    // Many machines should not ask at once.
    if (!this.#stopped) this.#timers.set(name, clock.setTimeout(() => void this.#turn(certificate, next), wait * (1 - random() / 10)))
  }

  /** Milliseconds until it should be renewed; at most 0: now. */
  #due (name: string): number {
    const { options, clock, current } = this.#parts
    const certificate = current(name)
    if (certificate === undefined) return 0
    const { notBefore, notAfter } = certificate
    return notAfter - (options.renewBefore ?? (notAfter - notBefore) / 3) - clock.wall()
  }

  /** False: another process is at it. */
  async #order (certificate: AcmeCertificateOptions, name: string): Promise<boolean> {
    const unlock = await this.storage.lock(name, Date.now())
    if (unlock === undefined) return false
    try {
      this.#log?.info({ certificate: name, hosts: certificate.hosts }, 'ordering a certificate')
      await this.storage.saveCertificate(name, await order(certificate, this.#parts.options, this.storage))
      await this.#fromStorage(certificate)
    } finally {
      await unlock()
    }
    return true
  }

  /** What is there, if it is another one than what is used, and can be. Rejects when the storage fails. */
  async #fromStorage (certificate: AcmeCertificateOptions): Promise<void> {
    const name = acmeName(certificate)
    const before = this.#parts.current(name)
    const pem = await this.storage.certificate(name)
    if (pem === undefined) return
    let loaded: Certificate
    try {
      loaded = await this.#parts.load(name, pem, certificate.hosts)
    } catch (error) {
      // Over, perhaps: one is ordered.
      this.#log?.debug({ err: error, certificate: name }, 'there is no certificate in the storage that could be used')
      return
    }
    if (loaded.fingerprint === before?.fingerprint) return
    const covered = new Set(loaded.issuedFor)
    if (certificate.hosts.every((host) => covered.has(host.toLowerCase()))) this.#parts.use(loaded)
  }
}
