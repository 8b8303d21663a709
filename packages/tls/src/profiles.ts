import type { SecureContextOptions } from 'node:tls'

export const profiles = ['intermediate', 'modern'] as const
/** Mozilla's recommendations for servers ("Server Side TLS", version 6.0). */
export type Profile = (typeof profiles)[number]

const SUITES = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']
const CIPHERS = [
  'ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'
]

/** Does this OpenSSL have the hybrid post-quantum group? From 3.5 on. */
function hasMlKem (version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 3 || (major === 3 && minor >= 5)
}

/** Versions, ciphers and groups of a profile. All ciphers are good ones, so that the client may choose the fastest for it. */
export function profileOptions (profile: Profile, openssl: string = process.versions.openssl): SecureContextOptions {
  return {
    minVersion: profile === 'modern' ? 'TLSv1.3' : 'TLSv1.2',
    ciphers: (profile === 'modern' ? SUITES : [...SUITES, ...CIPHERS]).join(':'),
    ecdhCurve: `${hasMlKem(openssl) ? 'X25519MLKEM768:' : ''}X25519:prime256v1:secp384r1`,
    honorCipherOrder: false
  }
}
