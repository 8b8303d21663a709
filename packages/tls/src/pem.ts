import { readFile } from 'node:fs/promises'

/** PEM text (it contains `-----BEGIN `), or the path of a file that holds it. */
export type PemOrFile = string | Buffer

/** Is it a path? */
export function isPath (value: PemOrFile): value is string {
  return typeof value === 'string' && !value.includes('-----BEGIN ')
}

export async function readPem (value: PemOrFile): Promise<Buffer> {
  if (isPath(value)) return readFile(value)
  return typeof value === 'string' ? Buffer.from(value) : value
}

/** The PEM blocks with this label, in order, each with its BEGIN and END lines. */
export function blocks (pem: Buffer, label: string): string[] {
  return pem.toString('latin1').match(new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, 'g')) ?? []
}
