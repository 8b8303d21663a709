import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { CertificateError } from './errors.ts'
import { blocks } from './pem.ts'

/** TLS feature extension (RFC 7633), the "must-staple" of certificates, as DER of its object identifier. */
const TLS_FEATURE = Buffer.from('06082b06010505070118', 'hex')

/** What a certificate is made of. */
export interface CertificateParts {
  /** PEM of the certificate, and of those between it and the root, in this order. */
  readonly cert: Buffer
  /** PEM of the private key. */
  readonly key: Buffer
  readonly passphrase: string | undefined
  /** Host names to show it for instead of those that it was issued for. */
  readonly hosts: readonly string[] | undefined
}

/** A certificate with its key, checked. */
export class Certificate {
  readonly name: string
  readonly parts: CertificateParts
  readonly leaf: X509Certificate
  /** The one that signed the leaf, where it came along. */
  readonly issuer: X509Certificate | undefined
  /** Names that it is shown for, in lower case; `*.example.com` stands for one label. */
  readonly hosts: readonly string[]
  /** Milliseconds since the Unix epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** The OCSP responder that it names; '' when it names none. */
  readonly responder: string
  /** Clients may insist on a stapled OCSP response. */
  readonly mustStaple: boolean
  /** `rsa`, `ec`, `ed25519` …: OpenSSL takes one certificate of each. */
  readonly keyType: string
  /** Of an `ec` key, as OpenSSL names it; '' for others. */
  readonly curve: string

  /** Throws `HG_TLS_CERTIFICATE` for what is no pair, or is not valid at `now` (milliseconds since the Unix epoch). */
  constructor (name: string, parts: CertificateParts, now: number) {
    this.name = name
    this.parts = parts
    const chain = parseChain(name, parts.cert)
    const key = parseKey(name, parts)
    const [leaf, issuer] = chain
    if (!leaf!.checkPrivateKey(key)) {
      const fits = chain.findIndex((other) => other.checkPrivateKey(key))
      throw new CertificateError(name, fits === -1
        ? `the key is not that of the certificate of ${subjectOf(leaf!)}`
        : `the key belongs to certificate number ${fits + 1} of the chain, ${subjectOf(chain[fits]!)}: put that one first`)
    }
    this.leaf = leaf!
    this.issuer = issuer !== undefined && leaf!.checkIssued(issuer) ? issuer : undefined
    this.notBefore = Date.parse(leaf!.validFrom)
    this.notAfter = Date.parse(leaf!.validTo)
    if (now > this.notAfter) throw new CertificateError(name, `${subjectOf(leaf!)} expired at ${new Date(this.notAfter).toISOString()}`)
    if (now < this.notBefore) throw new CertificateError(name, `${subjectOf(leaf!)} is not valid before ${new Date(this.notBefore).toISOString()}`)
    this.hosts = (parts.hosts ?? namesOf(leaf!)).map((host) => host.toLowerCase())
    this.responder = /^OCSP - URI:(https?:\/\/\S+)$/m.exec(leaf!.infoAccess ?? '')?.[1] ?? ''
    this.mustStaple = leaf!.raw.includes(TLS_FEATURE)
    const { asymmetricKeyType = '', asymmetricKeyDetails } = leaf!.publicKey
    this.keyType = asymmetricKeyType
    this.curve = asymmetricKeyDetails?.namedCurve ?? ''
  }

  /**
   * Can it be shown beside these, for the same host? Not where clients insist on a stapled response: Node does not say which of several
   * certificates is shown, so that none can be stapled to it.
   */
  pairsWith (others: readonly Certificate[]): boolean {
    return !this.mustStaple && others.every(({ keyType, mustStaple }) => keyType !== this.keyType && !mustStaple)
  }

  /** DNS names in it, in lower case. */
  get issuedFor (): string[] { return namesOf(this.leaf).map((host) => host.toLowerCase()) }
  get fingerprint (): string { return this.leaf.fingerprint256 }
}

/** A certificate's subject on one line, for messages. */
export function subjectOf (certificate: X509Certificate): string {
  return certificate.subject?.replaceAll('\n', ', ') || `serial number ${certificate.serialNumber}`
}

/** Throws `HG_TLS_CERTIFICATE`. At least one. */
export function parseChain (name: string, pem: Buffer): X509Certificate[] {
  const found = blocks(pem, 'CERTIFICATE')
  if (found.length === 0) throw new CertificateError(name, 'there is no PEM certificate in it')
  return found.map((block, index) => {
    try {
      return new X509Certificate(block)
    } catch (error) {
      throw new CertificateError(name, `certificate number ${index + 1} in it is malformed (${(error as Error).message})`)
    }
  })
}

function parseKey (name: string, { key, passphrase }: CertificateParts): KeyObject {
  try {
    return createPrivateKey({ key, ...passphrase !== undefined && { passphrase } })
  } catch (error) {
    const encrypted = passphrase === undefined && key.includes('ENCRYPTED')
    throw new CertificateError(name, encrypted ? "the key is encrypted: give its 'passphrase'" : `the key is not readable (${(error as Error).message})`)
  }
}

/** Subject alternative names of hosts (RFC 6125: common names do not count). Node puts odd ones in quotes: those are left out. */
export function namesOf (certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '').split(', ').filter((entry) => /^DNS:[\w*.-]+$/.test(entry)).map((entry) => entry.slice(4))
}
