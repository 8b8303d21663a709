import { createHash, type X509Certificate } from 'node:crypto'
import { type Der, encode, parse } from './der.ts'

const [SEQUENCE, OCTETS, ENUMERATED, GENERALIZED_TIME, FIRST, GOOD, REVOKED] = [0x30, 0x04, 0x0a, 0x18, 0xa0, 0x80, 0xa1] as const
/** SHA-1, which RFC 5019 2.1.1 has every responder know; it names the issuer here and secures nothing. */
const SHA1 = Buffer.from('300906052b0e03021a0500', 'hex')

const sha1 = (bytes: Buffer): Buffer => createHash('sha1').update(bytes).digest()
const STATUSES = ['successful', 'malformed request', 'internal error', 'try later', '', 'signature required', 'unauthorized']

/** Subject, public key and serial number of a certificate, as encoded in it (RFC 5280 4.1). */
function fieldsOf (certificate: X509Certificate): { subject: Buffer; key: Buffer; serial: Buffer } {
  const [whole] = parse(certificate.raw)
  const [body] = parse(whole!.content)
  const fields = parse(body!.content)
  // The version is left out in version 1.
  const at = fields[0]!.tag === FIRST ? 1 : 0
  const [, bits] = parse(fields[at + 5]!.content)
  // A bit string begins with the number of its unused bits.
  return { serial: fields[at]!.whole, subject: fields[at + 4]!.whole, key: bits!.content.subarray(1) }
}

/** The certificate's name in OCSP, without its hash algorithm: hashes of issuer and key, and the serial number (RFC 6960 4.1.1). */
function idOf (leaf: X509Certificate, issuer: X509Certificate): Buffer {
  const { subject, key } = fieldsOf(issuer)
  return Buffer.concat([encode(OCTETS, sha1(subject)), encode(OCTETS, sha1(key)), fieldsOf(leaf).serial])
}

/** A request for one certificate. */
export function ocspRequest (leaf: X509Certificate, issuer: X509Certificate): Buffer {
  const id = encode(SEQUENCE, SHA1, idOf(leaf, issuer))
  return encode(SEQUENCE, encode(SEQUENCE, encode(SEQUENCE, encode(SEQUENCE, id))))
}

/**
 * Until when a response says that the certificate is good, in milliseconds since the Unix epoch; NaN when it names no end. Throws for
 * everything else that a responder may say. Its signature is for the client to check, who trusts nobody on the way; what is checked
 * here keeps a proxy from handing out what clients refuse.
 */
export function goodUntil (response: Buffer, leaf: X509Certificate, issuer: X509Certificate, now: number): number {
  const [whole] = parse(response)
  const [status, wrapped] = parse(whole!.content)
  if (status?.tag !== ENUMERATED) throw new Error('the OCSP response is malformed')
  const code = status.content[0]!
  if (code !== 0 || wrapped === undefined) throw new Error(`the OCSP responder says: ${STATUSES[code] || code}`)
  const [bytes] = parse(wrapped.content)
  const basic = parse(bytes!.content)[1]!
  const [data] = parse(parse(basic.content)[0]!.content)
  const responses = parse(data!.content).find(({ tag }) => tag === SEQUENCE)
  const wanted = idOf(leaf, issuer)
  for (const single of parse(responses?.content ?? Buffer.alloc(0))) {
    const [id, state, thisUpdate, next] = parse(single.content)
    const [, ...names] = parse(id!.content)
    if (!Buffer.concat(names.map(({ whole }) => whole)).equals(wanted)) continue
    if (state?.tag !== GOOD) throw new Error(state?.tag === REVOKED ? 'the OCSP responder says that the certificate is revoked' : 'the OCSP responder does not know the certificate')
    if (timeOf(thisUpdate) > now + 300_000) throw new Error('the OCSP response is not valid yet')
    const until = next?.tag === FIRST ? timeOf(parse(next.content)[0]) : NaN
    if (until <= now) throw new Error('the OCSP response is out of date')
    return until
  }
  throw new Error('the OCSP response is for another certificate')
}

/** `YYYYMMDDHHMMSSZ` (RFC 5280 4.1.2.5.2). */
function timeOf (element: Der | undefined): number {
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(element?.tag === GENERALIZED_TIME ? element.content.toString('latin1') : '') ?? []
  if (parts.length === 0) throw new Error('a time in the OCSP response is malformed')
  const [year, month, day, hour, minute, second] = parts.map(Number)
  return Date.UTC(year!, month! - 1, day, hour, minute, second)
}
