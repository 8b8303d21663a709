import type { SecureContext } from 'node:tls'
import type { Clock } from '@headgate/core'
import { Certificate } from './certificate.ts'
import type { ProviderOptions } from './options.ts'
import { readPem } from './pem.ts'

interface Found {
  readonly context: SecureContext | undefined
  /** Clock time up to which it may be used. */
  readonly until: number
}

/** Asks a user's function for certificates, and remembers what it said. */
export class Provider {
  readonly #find: ProviderOptions['find']
  readonly #ttl: number
  readonly #negativeTtl: number
  readonly #max: number
  readonly #clock: Clock
  readonly #createContext: (certificate: Certificate) => SecureContext
  readonly #failed: (host: string, error: unknown) => void
  /** In the order of their use. */
  readonly #known = new Map<string, Found>()
  readonly #asked = new Map<string, Promise<SecureContext | undefined>>()

  constructor (
    options: ProviderOptions, clock: Clock, createContext: (certificate: Certificate) => SecureContext, failed: (host: string, error: unknown) => void
  ) {
    this.#find = options.find
    this.#ttl = options.ttl ?? 3_600_000
    this.#negativeTtl = options.negativeTtl ?? 60_000
    this.#max = options.max ?? 1000
    this.#clock = clock
    this.#createContext = createContext
    this.#failed = failed
  }

  /** For a host name in lower case. Never rejects. */
  contextFor (host: string): SecureContext | undefined | Promise<SecureContext | undefined> {
    const found = this.#known.get(host)
    if (found !== undefined) {
      this.#known.delete(host)
      if (found.until > this.#clock.now()) {
        this.#known.set(host, found)
        return found.context
      }
    }
    let asked = this.#asked.get(host)
    if (asked === undefined) {
      this.#asked.set(host, asked = this.#ask(host).finally(() => { this.#asked.delete(host) }))
    }
    return asked
  }

  /** Forgets what was said of a host, or of all. */
  forget (host?: string): void {
    if (host === undefined) this.#known.clear()
    else this.#known.delete(host)
  }

  async #ask (host: string): Promise<SecureContext | undefined> {
    let context: SecureContext | undefined
    let ttl = this.#negativeTtl
    try {
      const provided = await this.#find(host)
      if (provided !== undefined) {
        const [cert, key] = await Promise.all([readPem(provided.cert), readPem(provided.key)])
        const wall = this.#clock.wall()
        const certificate = new Certificate(host, { cert, key, passphrase: provided.passphrase, hosts: [host] }, wall)
        context = this.#createContext(certificate)
        ttl = Math.min(this.#ttl, certificate.notAfter - wall)
      }
    } catch (error) {
      this.#failed(host, error)
    }
    this.#known.delete(host)
    this.#known.set(host, { context, until: this.#clock.now() + ttl })
    if (this.#known.size > this.#max) for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest)
      break
    }
    return context
  }
}
