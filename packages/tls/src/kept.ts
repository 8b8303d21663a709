import { isDeepStrictEqual } from 'node:util'
import type { TlsOptions } from './options.ts'

/** What a server is made with, and keeps for as long as it lives. */
const FIXED = ['http2', 'handshakeTimeout'] as const

/**
 * New options for servers that run already, and the names of those that they cannot take: these keep their values. Whether clients are
 * asked for certificates is fixed as well, but not whose are accepted.
 */
export function keptOptions (before: TlsOptions, after: TlsOptions): { readonly options: TlsOptions; readonly kept: readonly string[] } {
  const options: Record<string, unknown> = { ...after }
  const kept: string[] = []
  const keep = (name: keyof TlsOptions): void => {
    kept.push(name)
    if (before[name] === undefined) delete options[name]
    else options[name] = before[name]
  }
  for (const name of FIXED) if (!isDeepStrictEqual(before[name], after[name])) keep(name)
  if ((before.clientCertificates === undefined) !== (after.clientCertificates === undefined)) keep('clientCertificates')
  return { options: options as TlsOptions, kept }
}
