import { once } from 'node:events'
import { lstat, unlink } from 'node:fs/promises'
import { type ListenOptions, type Server, connect, isIPv6 } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { UsageError } from './usage-error.ts'

/** What `listen` takes; `host` is missing for all interfaces. */
export type Address = { readonly host: string | undefined; readonly port: number } | { readonly path: string }

/**
 * `host:port`, `[IPv6]:port`, `:port` (or `*:port`) or `unix:/path`. Throws {@link UsageError}, which names the value as
 * `source`.
 */
export function parseListen (text: string, source = 'listen'): Address {
  if (text.startsWith('unix:')) {
    const path = text.slice(5)
    // sun_path holds 107 bytes and a NUL on Linux; a longer one is cut silently by the system.
    if (path === '' || Buffer.byteLength(path) > 107) throw new UsageError(`${source} must name a socket of 1–107 bytes after unix:; it is '${text}'`)
    return { path }
  }
  const [, literal, name = '', digits = ''] = /^(?:\[([^\]]*)\]|([\w.-]*|\*)):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === '' || port > 65_535 || (literal !== undefined && !isIPv6(literal))) {
    throw new UsageError(`${source} must be host:port, [::1]:port, :port or unix:/path, with a port of 0–65535; it is '${text}'`)
  }
  return { host: literal ?? (name === '' || name === '*' ? undefined : name), port }
}

/** Listens; gives the address. */
export async function listen (server: Server, address: Address): Promise<string> {
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
