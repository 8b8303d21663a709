import { once } from 'node:events'
import { lstat, unlink } from 'node:fs/promises'
import { connect, isIPv6 } from 'node:net'
import type { FastifyInstance } from 'fastify'
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
export async function listen (app: FastifyInstance, address: Address): Promise<string> {
  try {
    if ('path' in address || address.host !== undefined) return await app.listen(address as { host: string; port: number } | { path: string })
    // All interfaces: those of IPv6 include IPv4's, but not every machine has them.
    return await app.listen({ host: '::', port: address.port })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if ('path' in address) {
      if (code !== 'EADDRINUSE' || !await isDead(address.path)) throw error
      await unlink(address.path)
      return app.listen(address)
    }
    if (address.host !== undefined || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw error
    return app.listen({ host: '0.0.0.0', port: address.port })
  }
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
