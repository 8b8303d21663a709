import type { Socket } from 'node:net'
import type { SecureContext, TLSSocket } from 'node:tls'

export type SniCallback = (error: Error | null, context?: SecureContext) => void

/** The TCP socket under a TLS one. */
export function carrierOf (socket: TLSSocket): Socket | undefined {
  return (socket as unknown as { readonly _parent?: Socket })._parent
}

/** An `SNICallback` that also gets the connection, which Node gives as `this`. */
export function sniOf (
  choose: (socket: TLSSocket | undefined, name: string, callback: SniCallback) => void
): (name: string, callback: SniCallback) => void {
  return function (this: TLSSocket | undefined, name: string, callback: SniCallback): void { choose(this, name, callback) }
}

/** Alert record: fatal, unrecognized_name (RFC 6066 3; RFC 8446 6). Nothing is encrypted before the server's first message. */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112])

/** Node closes without a word when its callback fails; the client is told why. */
export function sendUnrecognizedName (socket: TLSSocket): void {
  const carrier = carrierOf(socket)
  if (carrier?.writable === true) carrier.write(UNRECOGNIZED_NAME)
}
