import { connect as netConnect, type OnReadOpts, type Socket, type TcpNetConnectOpts } from 'node:net'
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls'
import { whereIs } from '@headgate/core'
import type { StreamTransport } from '../transport.ts'

export interface DialOptions {
  readonly noDelay: boolean
  /** Milliseconds; 0: no probes. */
  readonly keepAlive: number
  readonly onread: OnReadOpts
  /** Written before anything else, TLS included. */
  readonly head: Buffer | undefined
}

/**
 * Starts a connection to an upstream. `ready` is the event that says that it stands; `direct` whether it reads by `onread`, else by
 * `data` events. TLS is verified unless the pool's options say otherwise; no name is sent for addresses (RFC 6066 3).
 */
export function dial (transport: StreamTransport, { noDelay, keepAlive, onread, head }: DialOptions): { socket: Socket; ready: 'connect' | 'secureConnect'; direct: boolean } {
  const { target, options } = transport
  // Half-open, so that each direction ends by itself.
  const common = { ...whereIs(target), allowHalfOpen: true, noDelay, keepAlive: keepAlive > 0, keepAliveInitialDelay: keepAlive }
  if (target.protocol !== 'tls:') {
    const socket = netConnect({ ...common, onread } as unknown as TcpNetConnectOpts)
    if (head !== undefined) socket.once('connect', () => { socket.write(head) })
    return { socket, ready: 'connect', direct: true }
  }
  const secure = {
    servername: target.serverName,
    ...(transport.session === undefined ? {} : { session: transport.session }),
    ...options.tls
  }
  const socket = head === undefined ? tlsConnect({ ...secure, ...common, onread } as unknown as ConnectionOptions) : overHead(common, secure, head)
  socket.on('session', (session: Buffer) => { transport.session = session })
  return { socket, ready: 'secureConnect', direct: head === undefined }
}

/** TLS over a connection that began with something else. */
function overHead (common: object, secure: ConnectionOptions, head: Buffer): ReturnType<typeof tlsConnect> {
  const plain = netConnect(common as TcpNetConnectOpts)
  plain.once('connect', () => { plain.write(head) })
  const socket = tlsConnect({ ...secure, socket: plain })
  plain.on('error', (error) => { socket.destroy(error) })
  return socket
}
