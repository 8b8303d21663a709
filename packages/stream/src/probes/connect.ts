import { type StreamCheck, passed } from './contract.ts'
import { converse } from './converse.ts'

/** Well when a connection can be opened (with its TLS handshake for `tls:` upstreams). */
export function connectCheck (): StreamCheck {
  return (upstream, signal) => converse(upstream, signal, { opened: () => passed('connected') })
}
