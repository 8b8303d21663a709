import { createHash } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { parseChain } from './certificate.ts'
import { CertificateError } from './errors.ts'
import type { ClientCertificateOptions } from './options.ts'
import { blocks, isPath, type PemOrFile, readPem } from './pem.ts'

/** Name of what clients' certificates are checked with, in logs and reports. */
export const CLIENT_TRUST = 'clientCertificates'

/** Whose certificates clients may show, and which were revoked. */
export interface ClientTrust {
  readonly options: SecureContextOptions
  /** Different for each different trust. */
  readonly digest: string
}

const list = (value: PemOrFile | readonly PemOrFile[] | undefined): readonly PemOrFile[] =>
  value === undefined ? [] : Array.isArray(value) ? value as readonly PemOrFile[] : [value as PemOrFile]

/** Paths of its files. */
export function trustFiles ({ ca, crl }: ClientCertificateOptions): string[] {
  return [...list(ca), ...list(crl)].filter(isPath)
}

/** Reads and checks it. Throws `HG_TLS_CERTIFICATE`, or what the file system says. */
export async function loadTrust ({ ca, crl }: ClientCertificateOptions): Promise<ClientTrust> {
  const bundles = await Promise.all(list(ca).map(readPem))
  const revocations = await Promise.all(list(crl).map(readPem))
  const hash = createHash('sha256')
  const authorities = bundles.flatMap((bundle) => {
    parseChain(CLIENT_TRUST, bundle)
    return blocks(bundle, 'CERTIFICATE')
  })
  const lists = revocations.flatMap((bundle) => {
    const found = blocks(bundle, 'X509 CRL')
    if (found.length === 0) throw new CertificateError(CLIENT_TRUST, 'there is no PEM revocation list (X509 CRL) in crl')
    return found
  })
  const options = { ca: authorities, ...lists.length > 0 && { crl: lists } }
  try {
    createSecureContext(options)
  } catch (error) {
    throw new CertificateError(CLIENT_TRUST, `a revocation list is malformed (${(error as Error).message})`)
  }
  for (const text of [...authorities, '', ...lists]) hash.update(text)
  return { options, digest: hash.digest('hex') }
}
