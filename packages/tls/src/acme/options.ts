import { type OptionUnit, refuse } from '@headgate/core'
import { hostName } from '../host-index.ts'
import type { PemOrFile } from '../pem.ts'
import type { AcmeStore } from './shared-storage.ts'

export interface AcmeCertificateOptions {
  /** For logs and metrics, and the file's name: letters, digits, `.`, `_`, `-`. @default the first host */
  readonly name?: string
  /** Host names that it is issued for. Wildcards need DNS, which is not asked here. */
  readonly hosts: readonly string[]
}

export interface AcmeOptions {
  /** At least one; each is one certificate. */
  readonly certificates: readonly AcmeCertificateOptions[]
  /** You agree to the authority's terms of service: must be `true`. */
  readonly termsOfServiceAgreed: true
  /** Folder, or store, for the account's key, certificates with their keys, and challenges: shared by all processes that serve these hosts. */
  readonly storage: string | AcmeStore
  /** Where the authority writes to. @default nowhere */
  readonly email?: string
  /** Directory of the authority. @default Let's Encrypt's */
  readonly directory?: string
  /** How the authority checks: on the port for TLS itself, or by plain HTTP, which needs `redirect`. @default 'tls-alpn-01' */
  readonly challenge?: 'tls-alpn-01' | 'http-01'
  /** Milliseconds before its end at which a certificate is renewed, 0–31,536,000,000. @default a third of its lifetime */
  readonly renewBefore?: number
  /** For authorities that want it: the account that they know you by. */
  readonly externalAccount?: ExternalAccountOptions
  /** Who signed the certificate of the directory's server: PEM or path. @default those that Node trusts */
  readonly ca?: PemOrFile
}

export interface ExternalAccountOptions {
  readonly kid: string
  /** Base64url. */
  readonly hmacKey: string
}

export const LETS_ENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory'

const STORAGE = { anyOf: [{ type: 'string', minLength: 1 }, { type: 'object', required: ['get', 'set', 'delete', 'claim'] }] }
const text = { type: 'string', minLength: 1 }
const object = (properties: object, required: string[]): object => ({ type: 'object', additionalProperties: false, properties, required })

export const acmeSchema: object = object({
  certificates: {
    type: 'array',
    minItems: 1,
    items: object({
      name: { type: 'string', pattern: '^\\w[\\w.-]{0,127}$' }, hosts: { type: 'array', minItems: 1, maxItems: 100, items: text }
    } satisfies Record<keyof AcmeCertificateOptions, object>, ['hosts'])
  },
  termsOfServiceAgreed: { const: true },
  storage: STORAGE,
  email: { type: 'string', pattern: '^[^@\\s]+@[^@\\s]+$' },
  directory: { type: 'string', pattern: '^https://' },
  challenge: { type: 'string', enum: ['tls-alpn-01', 'http-01'] },
  renewBefore: { type: 'number', minimum: 0, maximum: 31_536_000_000, unit: 'ms' satisfies OptionUnit },
  externalAccount: object({ kid: text, hmacKey: text } satisfies Record<keyof ExternalAccountOptions, object>, ['kid', 'hmacKey']),
  ca: { type: ['string', 'object'] }
} satisfies Record<keyof AcmeOptions, object>, ['certificates', 'termsOfServiceAgreed', 'storage'])

/** Checks what the schema cannot. `taken`: names of other certificates. */
export function checkAcme (options: AcmeOptions, path: string, taken: ReadonlySet<string>, redirects: boolean): void {
  const names = new Set(taken)
  for (const [index, certificate] of options.certificates.entries()) {
    const at = `${path}.certificates[${index}]`
    for (const [i, host] of certificate.hosts.entries()) {
      if (host.startsWith('*.')) refuse(`${at}.hosts[${i}]`, 'must not be a wildcard: authorities give those for a challenge in DNS alone', host)
      if (hostName(host) === '') refuse(`${at}.hosts[${i}]`, 'must be a host name', host)
    }
    const name = acmeName(certificate)
    if (names.has(name)) refuse(`${at}.name`, 'must not be that of another certificate', name)
    names.add(name)
  }
  if (options.challenge === 'http-01' && !redirects) refuse(`${path}.challenge`, "http-01 needs 'redirect', which answers by plain HTTP", options.challenge)
  if (options.ca !== undefined && typeof options.ca !== 'string' && !Buffer.isBuffer(options.ca)) refuse(`${path}.ca`, 'must be PEM, or a path', options.ca)
}

export function acmeName ({ name, hosts }: AcmeCertificateOptions): string {
  return name ?? hosts[0]!.toLowerCase()
}
