import type { IncomingMessage } from 'node:http'
import type { Certificate } from './certificate.ts'
import { tlsSocketOf } from './client-certificate.ts'
import { hostName } from './host-index.ts'
import type { CertificateStore } from './store.ts'

/**
 * The host of a request that came over another host's connection (RFC 9110 7.4): the certificate that the client was shown is not
 * for it, and a connection of its own would be shown another one, or none. '' for all others. A client that named no host in its
 * handshake is not judged, nor one that was shown a provider's certificate: that one is for a single host, and is not kept.
 */
export function misdirectedHost (raw: IncomingMessage, store: CertificateStore, provides: boolean, refuses: boolean): string {
  const named = tlsSocketOf(raw)?.servername
  if (typeof named !== 'string' || named === '') return ''
  const authority = (raw.headers as Record<string, string | undefined>)[':authority'] ?? raw.headers.host ?? ''
  if (authority === named) return ''
  const host = hostName(authority.replace(/:\d*$/, ''))
  const own = hostName(named)
  if (host === '' || host === own) return ''
  const shown: Certificate | undefined = store.certificateFor(own) ?? (provides ? undefined : store.fallback)
  const wanted = store.certificateFor(host)
  if (shown === undefined || shown === wanted || (wanted === undefined && (provides || !refuses))) return ''
  return shown.leaf.checkHost(host) === undefined ? host : ''
}
