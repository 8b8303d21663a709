import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { type CheckKind, failed, passed, type StreamCheck } from './contract.ts'
import { converse } from './converse.ts'

export interface TlsHandshakeOptions {
  /** What `tls.connect` takes: `servername`, `ca`, `ALPNProtocols` … Certificates are verified unless `rejectUnauthorized: false`. */
  readonly tls?: ConnectionOptions
  /** Not well when the certificate ends within so many days. @default 0 */
  readonly daysLeft?: number
}

/** Well when a TLS handshake succeeds: for upstreams to which TLS passes through, too. */
export function tlsHandshakeCheck ({ tls = {}, daysLeft = 0 }: TlsHandshakeOptions = {}): StreamCheck {
  return (upstream, signal) => converse(upstream, signal, {
    secure: true,
    tls,
    opened: (socket) => {
      const secure = socket as TLSSocket
      const { valid_to: until } = secure.getPeerCertificate()
      const days = (Date.parse(until) - Date.now()) / 86_400_000
      if (daysLeft > 0 && !(days >= daysLeft)) return failed(`the certificate ends in ${Math.floor(days)} days`)
      return passed(`${secure.getProtocol() ?? 'TLS'} handshake`)
    }
  })
}

export const tls: CheckKind<TlsHandshakeOptions> = {
  properties: { tls: { type: 'object' }, daysLeft: { type: 'number', minimum: 0, maximum: 10_000 } },
  create: tlsHandshakeCheck
}
