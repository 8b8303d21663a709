import type { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { namesOf, subjectOf } from './certificate.ts'

/** The certificate that a client has shown. */
export interface ClientCertificate {
  /** Valid at its handshake: from one of the issuers, in its time, not revoked. */
  readonly authorized: boolean
  /** Why it is not, in OpenSSL's word; '' when it is. */
  readonly reason: string
  /** On one line, such as `O=Example, CN=alice`. */
  readonly subject: string
  readonly issuer: string
  /** '' where the subject has none. */
  readonly commonName: string
  /** DNS names that it was issued for. */
  readonly hosts: readonly string[]
  /** Hexadecimal. */
  readonly serialNumber: string
  /** SHA-256, upper-case hexadecimal with colons. */
  readonly fingerprint: string
  /** All of it. */
  readonly x509: X509Certificate
}

/** One per connection; `null`: the client has shown none. */
const known = new WeakMap<object, ClientCertificate | null>()

/** The certificate of a request's client; `null` without one, and on connections without TLS. */
export function clientCertificateOf (raw: IncomingMessage): ClientCertificate | null {
  const secure = tlsSocketOf(raw)
  if (secure === undefined) return null
  let certificate = known.get(secure)
  if (certificate === undefined) known.set(secure, certificate = describe(secure))
  return certificate
}

/** A request's connection; `undefined` without TLS. */
export function tlsSocketOf (raw: IncomingMessage): TLSSocket | undefined {
  // HTTP/2's requests show a stand-in for the socket, made anew for each session.
  const { stream, socket } = raw as IncomingMessage & { stream?: { session?: { socket: TLSSocket } } }
  const secure = stream?.session?.socket ?? socket as TLSSocket | null
  return secure === null || typeof secure.getPeerX509Certificate !== 'function' ? undefined : secure
}

export function describe (socket: TLSSocket): ClientCertificate | null {
  const x509 = socket.getPeerX509Certificate()
  if (x509 === undefined) return null
  const reason = socket.authorized ? '' : String((socket.authorizationError as Error & { code?: string } | null)?.code ?? socket.authorizationError ?? 'unknown')
  return Object.freeze({
    authorized: socket.authorized,
    reason,
    subject: subjectOf(x509),
    issuer: x509.issuer.replaceAll('\n', ', '),
    commonName: /(?:^|\n)CN=(.*)/.exec(x509.subject ?? '')?.[1] ?? '',
    hosts: namesOf(x509),
    serialNumber: x509.serialNumber,
    fingerprint: x509.fingerprint256,
    x509
  })
}

const NAMES = new Set(['client-cert', 'client-cert-chain', 'client_cert', 'client-cert_chain', 'client_cert-chain', 'client_cert_chain'])

/** Takes what a client sent as `Client-Cert` or `Client-Cert-Chain` out of its request (RFC 9440 2.4), and names written with underscores. */
export function dropClientCert (raw: IncomingMessage): void {
  const { rawHeaders: list } = raw
  for (let i = list.length - 2; i >= 0; i -= 2) {
    const { length } = list[i]!
    if (length !== 11 && length !== 17) continue
    const name = list[i]!.toLowerCase()
    if (!NAMES.has(name)) continue
    // Node makes the object from the list when it is first asked for it.
    delete raw.headers[name]
    list.splice(i, 2)
  }
}

/** Adds the certificate as an upstream is to see it: a byte sequence of structured fields (RFC 9440 2.1). */
export function addClientCert (raw: IncomingMessage, { x509 }: ClientCertificate): void {
  const value = `:${x509.raw.toString('base64')}:`
  const { headers } = raw
  raw.rawHeaders.push('Client-Cert', value)
  headers['client-cert'] = value
}
