import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { Certificate } from './certificate.ts'
import { UnknownCertificateError } from './errors.ts'
import { HostIndex } from './host-index.ts'

interface Entry {
  certificate: Certificate
  /** Made with the first handshake: of thousands of certificates few are in use. */
  context: SecureContext | undefined
}

/** All certificates, by name and by host. What is replaced is used from the next handshake on; open connections keep theirs. */
export class CertificateStore {
  readonly #entries = new Map<string, Entry>()
  readonly #preferred: string | undefined
  #hosts = new HostIndex<Entry>()
  #base: SecureContextOptions

  /** `base`: what all contexts have in common. `preferred`: name of the certificate for everybody else; the first one without. */
  constructor (base: SecureContextOptions, preferred: string | undefined) {
    this.#base = base
    this.#preferred = preferred
  }

  get size (): number { return this.#entries.size }
  get all (): Certificate[] { return Array.from(this.#entries.values(), ({ certificate }) => certificate) }
  get names (): string[] { return Array.from(this.#entries.keys()) }

  get (name: string): Certificate | undefined {
    return this.#entries.get(name)?.certificate
  }

  /** Adds or replaces the one of this name. Gives the hosts that another certificate has already. */
  set (certificate: Certificate): string[] {
    const entry = this.#entries.get(certificate.name)
    if (entry === undefined) this.#entries.set(certificate.name, { certificate, context: undefined })
    else {
      entry.certificate = certificate
      entry.context = undefined
    }
    return this.#index().filter(([, other]) => other.certificate === certificate).map(([host]) => host)
  }

  /** Throws `HG_TLS_UNKNOWN_CERTIFICATE`. */
  remove (name: string): Certificate {
    const entry = this.#entries.get(name)
    if (entry === undefined) throw new UnknownCertificateError(name, this.names.join(', ') || 'none')
    this.#entries.delete(name)
    this.#index()
    return entry.certificate
  }

  /** For a host name in lower case; `undefined`: there is none for it. */
  contextFor (host: string): SecureContext | undefined {
    const entry = this.#hosts.find(host)
    return entry === undefined ? undefined : entry.context ??= this.createContext(entry.certificate)
  }

  certificateFor (host: string): Certificate | undefined {
    return this.#hosts.find(host)?.certificate
  }

  /** For those who name no host, or one that nobody knows. */
  get fallback (): Certificate | undefined {
    if (this.#preferred !== undefined) return this.get(this.#preferred)
    for (const { certificate } of this.#entries.values()) return certificate
    return undefined
  }

  /** What contexts have in common changes. */
  set base (base: SecureContextOptions) {
    this.#base = base
    for (const entry of this.#entries.values()) entry.context = undefined
  }

  /** What a certificate's context is made of; without one, handshakes end with an alert. */
  options (certificate: Certificate | undefined): SecureContextOptions {
    if (certificate === undefined) return this.#base
    const { cert, key, passphrase } = certificate.parts
    return { ...this.#base, cert, key, ...passphrase !== undefined && { passphrase } }
  }

  createContext (certificate: Certificate | undefined): SecureContext {
    return createSecureContext(this.options(certificate))
  }

  /** Cold: at changes alone. Gives the hosts for which an earlier certificate wins, and whose they would have been. */
  #index (): [string, Entry][] {
    const lost: [string, Entry][] = []
    const hosts = new HostIndex<Entry>()
    for (const entry of this.#entries.values()) {
      for (const host of entry.certificate.hosts) if (!hosts.add(host, entry)) lost.push([host, entry])
    }
    this.#hosts = hosts
    return lost
  }
}
