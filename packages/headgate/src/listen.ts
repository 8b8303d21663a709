import { once } from 'node:events'
import { lstat, unlink } from 'node:fs/promises'
import { type ListenOptions, type Server, connect } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { LISTEN_ADDRESSES, type ListenAddress, parseListen as parse } from '@headgate/core'
import { UsageError } from './usage-error.ts'

/** Throws {@link UsageError}, which names the value as `source`. */
export function parseListen (text: string, source = 'listen'): ListenAddress {
  const address = parse(text)
  if (address === undefined) throw new UsageError(`${source} must be ${LISTEN_ADDRESSES}; it is '${text}'`)
  return address
}

/** Listens; gives the address. */
export async function listen (server: Server, address: ListenAddress): Promise<string> {
  try {
    // All interfaces: those of IPv6 include IPv4's, but not every machine has them.
    return await open(server, 'path' in address ? address : { host: address.host ?? '::', port: address.port })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if ('path' in address) {
      if (code !== 'EADDRINUSE' || !await isDead(address.path)) throw error
      await unlink(address.path)
      return open(server, address)
    }
    if (address.host !== undefined || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw error
    return open(server, { host: '0.0.0.0', port: address.port })
  }
}

async function open (server: Server, options: ListenOptions): Promise<string> {
  server.listen(options)
  await once(server, 'listening')
  const bound = server.address()
  if (typeof bound === 'string' || bound === null) return bound ?? ''
  return `${server instanceof TlsServer ? 'https' : 'http'}://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`
}

/** Is it a socket that a process left behind when it was killed? */
async function isDead (path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
  } finally {
    socket.destroy()
  }
}
