import { type OnReadOpts, Server, Socket, type SocketConstructorOpts } from 'node:net'

interface WithHandle { _handle: object | null }

/**
 * An accepted socket, made anew so that it reads by `onread` into a buffer of ours: `net.Server` has no such option, and without
 * it each read costs a buffer of 64 KiB. The first socket is left without its handle. `undefined` when the client is gone.
 * `direct` is false where Node keeps its handle elsewhere: then the socket is given back as it was, for its `data` events.
 */
export function adopt (accepted: Socket, onread: OnReadOpts): { socket: Socket; direct: boolean } | undefined {
  const shell = accepted as unknown as WithHandle
  const handle = shell._handle
  if (handle === undefined) return { socket: accepted, direct: false }
  if (handle === null) return undefined
  shell._handle = null
  const socket = new Socket({ handle, allowHalfOpen: true, onread, readable: true, writable: true } as unknown as SocketConstructorOpts)
  accepted.destroy()
  return { socket, direct: true }
}

/**
 * Closes with a reset, which tells the peer that what it got may not be all; where there are no resets (TLS, Unix sockets), plainly.
 * Not `resetAndDestroy`, which ends the socket in good order first: that waits for a peer that does not read, and looks like a proper
 * end to one that does. And not for a socket whose half was ended: there the system call fails, and Node then never closes the handle.
 */
export function reset (socket: Socket): void {
  const shell = socket as unknown as { _handle?: { reset?: (callback: () => void) => number } | null }
  const handle = shell._handle
  if (!socket.destroyed && !socket.writableEnded && !('encrypted' in socket) && typeof handle?.reset === 'function') {
    handle.reset(() => {})
    shell._handle = null
  }
  socket.destroy()
}

/** Changes what {@link acceptor} was given, for sockets that are accepted from now on: Node reads these fields for each. */
export function setAcceptor (server: Server, noDelay: boolean, keepAlive: number): void {
  Object.assign(server, { noDelay, keepAlive: keepAlive > 0, keepAliveInitialDelay: Math.floor(keepAlive / 1000) })
}

/** Makes a server accept in half-open mode without reading yet. */
export function acceptor (noDelay: boolean, keepAlive: number, onConnection: (socket: Socket) => void): Server {
  return new Server({ allowHalfOpen: true, pauseOnConnect: true, noDelay, keepAlive: keepAlive > 0, keepAliveInitialDelay: keepAlive }, onConnection)
}
