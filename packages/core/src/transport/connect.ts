import { type OnReadOpts, type Socket, type TcpNetConnectOpts, connect as netConnect } from 'node:net'
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls'
import { NO_SOCKETS, isOwnFault } from '../own-fault.ts'
import { type Target, whereIs } from '../target.ts'
import type { FailureCode } from './contract.ts'

/** The last TLS session with an upstream: the next handshake is shorter with it. */
export interface TlsSession {
  last: Buffer | undefined
}

/** How an address is opened. A seam for tests. */
export type Open = (target: Target, tls: ConnectionOptions, session: TlsSession, onread: OnReadOpts | undefined) => Socket

/** Starts a connection. TLS is verified unless `tls` says otherwise; no name is sent for addresses (RFC 6066 3). */
export const open: Open = (target, tls, session, onread) => {
  // Half-open, so that a FIN is ours to judge: it may be an end, a truncation, or one side of a tunnel.
  const common = { ...whereIs(target), allowHalfOpen: true, noDelay: true, ...(onread === undefined ? {} : { onread }) }
  if (target.protocol !== 'https:') return netConnect(common as unknown as TcpNetConnectOpts)
  const secure = tlsConnect({
    servername: target.serverName,
    ALPNProtocols: ['http/1.1'],
    ...(session.last === undefined ? {} : { session: session.last }),
    ...tls,
    ...common
  } as ConnectionOptions)
  secure.on('session', (data: Buffer) => { session.last = data })
  return secure
}

/** What a failure before the connection was there is called. */
export function connectFailure (error: NodeJS.ErrnoException, secure: boolean): FailureCode {
  // With several addresses the reasons are in an AggregateError, whose code is the first one's.
  const { code = '', syscall } = error
  if (isOwnFault(error)) return NO_SOCKETS
  if (syscall === 'getaddrinfo' || code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'dns'
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return 'connect-refused'
  if (code === 'ETIMEDOUT') return 'connect-timeout'
  // What is left with a system call is the system's; the rest comes from the handshake or the certificate's check.
  return secure && (syscall === undefined || syscall === 'read' || syscall === 'write') ? 'tls' : 'connect-failed'
}

/** Was it told at once, and before anybody had work of it? A time-out is not: it costs the client the time. */
export function isUnreached (code: string): boolean {
  return code === 'connect-refused' || code === 'connect-failed'
}
