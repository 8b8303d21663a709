import type { TLSSocket } from 'node:tls'
import type { Certificate } from './certificate.ts'

/** Curves that go with one hash alone in TLS 1.3 (RFC 8446 4.2.3). */
const HASHES: Readonly<Record<string, string>> = { prime256v1: 'ECDSA+SHA256', secp384r1: 'ECDSA+SHA384', secp521r1: 'ECDSA+SHA512' }

/** Can its key make such a signature in TLS 1.3? `algorithm` as OpenSSL names it. */
function signs ({ keyType, curve }: Certificate, algorithm: string): boolean {
  switch (keyType) {
    case 'ec': return algorithm === HASHES[curve]
    case 'rsa': return algorithm.startsWith('RSA-PSS+')
    default: return algorithm.toLowerCase().startsWith(`${keyType}+`)
  }
}

/** Which of several certificates to show: the place of the one for the first of the client's signature algorithms that fits one; 0 where none does. */
export function choose (certificates: readonly Certificate[], socket: TLSSocket | undefined): number {
  const algorithms = socket?.getSharedSigalgs() ?? []
  if (socket?.getProtocol() !== 'TLSv1.3') {
    // Cipher suites decide as well, and those of the client are not known here: few are without any for RSA.
    const rsa = certificates.findIndex(({ keyType }) => keyType === 'rsa')
    if (rsa !== -1 && (algorithms.length === 0 || algorithms.some((algorithm) => algorithm.startsWith('RSA')))) return rsa
  }
  for (const algorithm of algorithms) {
    const place = certificates.findIndex((certificate) => signs(certificate, algorithm))
    if (place !== -1) return place
  }
  return 0
}
