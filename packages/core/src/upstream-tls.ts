import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { checkServerIdentity, type ConnectionOptions, createSecureContext, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls'
import { refuse } from './options.ts'

/** TLS to upstreams: what `tls.connect` takes, where `ca`, `cert`, `key` and `crl` may also be paths of files, and pins. */
export interface UpstreamTlsOptions extends ConnectionOptions {
  /**
   * Public keys, `sha256/` and the base64 of the SHA-256 of a SubjectPublicKeyInfo (RFC 7469 2.4): one of the chain has to be among
   * them, beside all other checks.
   */
  readonly pins?: readonly string[]
}

const PIN = /^sha256\/[A-Za-z0-9+/]{43}=$/
const FILES = ['ca', 'cert', 'key', 'crl'] as const

/** Reads files and checks the whole. Throws `HG_POOL_INVALID_OPTION` with a path that begins with `path`. */
export function upstreamTls (options: UpstreamTlsOptions, path: string): ConnectionOptions {
  const { pins, ...rest } = options
  const files: Record<string, unknown> = {}
  for (const name of FILES) if (rest[name] !== undefined) files[name] = read(rest[name], `${path}.${name}`)
  const result: ConnectionOptions = { ...rest, ...files }
  try {
    createSecureContext(result)
  } catch (error) {
    refuse(path, `must be what tls.connect takes (${(error as Error).message})`, options)
  }
  if (pins === undefined) return result
  if (!Array.isArray(pins) || pins.length === 0) refuse(`${path}.pins`, 'must be a list of at least one', pins)
  for (const [index, pin] of pins.entries()) {
    if (typeof pin !== 'string' || !PIN.test(pin)) refuse(`${path}.pins[${index}]`, "must be 'sha256/' and the base64 of 32 bytes", pin)
  }
  if (result.rejectUnauthorized === false) {
    refuse(`${path}.pins`, "need verification, which rejectUnauthorized: false switches off; for a certificate that no authority signed, give it as 'ca'", pins)
  }
  return { ...result, checkServerIdentity: pinned(new Set(pins), result.checkServerIdentity ?? checkServerIdentity) }
}

/** PEM as it is, and texts that hold none as paths. */
function read (value: unknown, path: string): unknown {
  if (Array.isArray(value)) return value.map((one, index) => read(one, `${path}[${index}]`))
  if (typeof value !== 'string' || value.includes('-----BEGIN ')) return value
  try {
    return readFileSync(value)
  } catch (error) {
    return refuse(path, `must be PEM, or the path of a file with it (${(error as Error).message})`, value)
  }
}

/** Node asks it after the chain was verified, but not for resumed sessions, whose first handshake was checked. */
function pinned (pins: ReadonlySet<string>, check: NonNullable<ConnectionOptions['checkServerIdentity']>): NonNullable<ConnectionOptions['checkServerIdentity']> {
  return (host: string, certificate: PeerCertificate): Error | undefined => {
    const wrong = check(host, certificate)
    if (wrong !== undefined) return wrong
    let current: DetailedPeerCertificate | undefined = certificate as DetailedPeerCertificate
    for (let depth = 0; current?.raw !== undefined && depth < 16; depth++) {
      if (pins.has(pinOf(current.raw))) return undefined
      const above: DetailedPeerCertificate | undefined = current.issuerCertificate
      // A root is its own issuer.
      current = above === current ? undefined : above
    }
    return Object.assign(new Error(`no public key of the certificate chain of ${host} is among the pins`), { code: 'ERR_TLS_CERT_PIN' })
  }
}

/** The pin of a certificate's public key (DER or PEM). */
export function pinOf (certificate: Buffer | string): string {
  const spki = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' })
  return `sha256/${createHash('sha256').update(spki).digest('base64')}`
}
