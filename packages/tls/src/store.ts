import { createSecureContext, type SecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls'
import type { Certificate } from './certificate.ts'
import { choose } from './choice.ts'
import { UnknownCertificateError } from './errors.ts'
import { HostIndex } from './host-index.ts'

/** What is shown for a host: one certificate, or several with keys of different types, of which the client's abilities choose. */
class Shown {
  readonly certificates: readonly Certificate[]
  /** Made with the first handshake: of thousands of certificates few are in use. */
  contexts: readonly SecureContext[] | undefined

  constructor (certificates: readonly Certificate[]) {
    this.certificates = certificates
  }
}

/** All certificates, by name and by host. What is replaced is used from the next handshake on; open connections keep theirs. */
export class CertificateStore {
  readonly #certificates = new Map<string, Certificate>()
  readonly #preferred: string | undefined
  #hosts = new HostIndex<Shown>()
  /** Each combination once, by its certificates' names. */
  #shown = new Map<string, Shown>()
  #paired: ReadonlySet<string> = new Set()
  #base: SecureContextOptions

  /** `base`: what all contexts have in common. `preferred`: name of the certificate for everybody else; the first one without. */
  constructor (base: SecureContextOptions, preferred: string | undefined) {
    this.#base = base
    this.#preferred = preferred
  }

  get size (): number { return this.#certificates.size }
  get all (): Certificate[] { return Array.from(this.#certificates.values()) }
  get names (): string[] { return Array.from(this.#certificates.keys()) }

  get (name: string): Certificate | undefined {
    return this.#certificates.get(name)
  }

  /** Adds or replaces the one of this name. Gives the hosts that another certificate has already. */
  set (certificate: Certificate): string[] {
    this.#certificates.set(certificate.name, certificate)
    return this.#index().filter(([, other]) => other === certificate).map(([host]) => host)
  }

  /** Throws `HG_TLS_UNKNOWN_CERTIFICATE`. */
  remove (name: string): Certificate {
    const certificate = this.#certificates.get(name)
    if (certificate === undefined) throw new UnknownCertificateError(name, this.names.join(', ') || 'none')
    this.#certificates.delete(name)
    this.#index()
    return certificate
  }

  /** For a host name in lower case, and the client that names it; `undefined`: there is none. */
  contextFor (host: string, socket: TLSSocket | undefined): SecureContext | undefined {
    const shown = this.#hosts.find(host)
    if (shown === undefined) return undefined
    const { certificates } = shown
    const contexts = shown.contexts ??= certificates.map((certificate) => this.createContext(certificate))
    if (contexts.length === 1) return contexts[0]
    const chosen = contexts[choose(certificates, socket)]
    // Before Node 24 what is set here stays beside the chosen one, and OpenSSL looks at cipher suites too; from then on that stands alone.
    for (const other of contexts) if (other !== chosen) socket?.setKeyCert(other)
    return chosen
  }

  /** The first one that is shown for a host. */
  certificateFor (host: string): Certificate | undefined {
    return this.#hosts.find(host)?.certificates[0]
  }

  /** Is it shown beside another one somewhere? `der`: the certificate. */
  isPaired (der: Buffer): boolean {
    return this.#paired.size > 0 && this.#paired.has(der.toString('latin1'))
  }

  /** For those who name no host, or one that nobody knows. */
  get fallback (): Certificate | undefined {
    return this.#preferred === undefined ? this.#certificates.values().next().value : this.get(this.#preferred)
  }

  /** What contexts have in common changes. */
  set base (base: SecureContextOptions) {
    this.#base = base
    for (const shown of this.#shown.values()) shown.contexts = undefined
  }

  /** What the context for everybody else is made of; without a certificate, handshakes end with an alert. */
  get defaults (): SecureContextOptions {
    const { fallback } = this
    if (fallback === undefined) return this.#base
    const beside = fallback.hosts.map((host) => this.#hosts.get(host)?.certificates ?? []).find((certificates) => certificates.includes(fallback))
    return this.#options(beside ?? [fallback])
  }

  createContext (certificate: Certificate): SecureContext {
    return createSecureContext(this.#options([certificate]))
  }

  #options (certificates: readonly Certificate[]): SecureContextOptions {
    return {
      ...this.#base,
      cert: certificates.map(({ parts }) => parts.cert),
      key: certificates.map(({ parts: { key, passphrase } }) => ({ pem: key, ...passphrase !== undefined && { passphrase } }))
    }
  }

  /** Cold: at changes alone. Gives the hosts for which an earlier certificate wins, and whose they would have been. */
  #index (): [string, Certificate][] {
    const lost: [string, Certificate][] = []
    const byHost = new Map<string, Certificate[]>()
    for (const certificate of this.#certificates.values()) {
      for (const host of certificate.hosts) {
        const others = byHost.get(host)
        if (others === undefined) byHost.set(host, [certificate])
        else if (certificate.pairsWith(others)) others.push(certificate)
        else if (!others.includes(certificate)) lost.push([host, certificate])
      }
    }
    const shown = new Map<string, Shown>()
    const hosts = new HostIndex<Shown>()
    for (const [host, certificates] of byHost) {
      const key = certificates.map(({ name }) => name).join('\n')
      let one = shown.get(key)
      if (one === undefined) {
        const before = this.#shown.get(key)
        one = before?.certificates.every((certificate, index) => certificate === certificates[index]) === true ? before : new Shown(certificates)
        shown.set(key, one)
      }
      hosts.add(host, one)
    }
    this.#hosts = hosts
    this.#shown = shown
    const paired = [...shown.values()].flatMap(({ certificates }) => certificates.length > 1 ? certificates : [])
    this.#paired = new Set(paired.map(({ leaf }) => leaf.raw.toString('latin1')))
    return lost
  }
}
