import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Lease, channels } from '@headgate/core'

/** Notes in the lease what is about to be sent, and tells those who listen; they may add to `headers`. `sent`: bytes of a body that is all there. */
export function begins (lease: Lease, request: object, method: string, path: string, headers: string[], sent: number): void {
  lease.method = method
  lease.sent = sent
  if (channels.dispatch.hasSubscribers) channels.dispatch.publish({ lease, source: lease.pool, request, method, path, headers })
}

/** A tunnel has ended: all bytes of its connection count. */
export function tunnelled (lease: Lease, socket: Duplex): void {
  lease.sent = (socket as Socket).bytesWritten ?? 0
  lease.received = (socket as Socket).bytesRead ?? 0
  lease.release('ok')
}
