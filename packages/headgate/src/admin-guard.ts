import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** The token of `Authorization: Bearer TOKEN`, or the password of `Basic`, which browsers can send. */
function tokenOf (header: string | undefined): string | undefined {
  const [, scheme = '', value = ''] = /^(\w+) +(\S+)$/.exec(header ?? '') ?? []
  if (scheme.toLowerCase() === 'bearer') return value
  if (scheme.toLowerCase() !== 'basic') return undefined
  const text = Buffer.from(value, 'base64').toString()
  return text.includes(':') ? text.slice(text.indexOf(':') + 1) : undefined
}

/** Whoever knows the token may, from anywhere. */
export function withToken (token: string): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const wanted = digest(token)
  return async (request, reply) => {
    const given = tokenOf(request.headers.authorization)
    if (given !== undefined && timingSafeEqual(digest(given), wanted)) return
    await reply.code(401).header('www-authenticate', 'Basic realm="Headgate", charset="UTF-8"').send({ statusCode: 401, message: 'the admin token is required' })
  }
}

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/

/**
 * Only this machine may. The connection's own address counts, not what `X-Forwarded-For` says; and `Host` has to be a loopback name,
 * so that a page from elsewhere whose name was pointed at 127.0.0.1 gets nowhere (DNS rebinding).
 */
export async function fromHere (request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { remoteAddress } = request.raw.socket
  // As it came: with `trustProxy` the request's own host is what X-Forwarded-Host says.
  const name = String(request.headers[':authority'] ?? request.headers.host ?? '').replace(/:\d*$/, '').replace(/^\[|\]$/g, '')
  // A Unix socket has no addresses: its permissions are the guard.
  const near = remoteAddress === undefined || LOOPBACK.test(remoteAddress)
  const named = name === 'localhost' || name.endsWith('.localhost') || (isIP(name) !== 0 && LOOPBACK.test(name))
  const forwarded = request.headers['x-forwarded-for'] !== undefined || request.headers['forwarded'] !== undefined
  if (near && (named || remoteAddress === undefined) && !forwarded) return
  await reply.code(403).send({ statusCode: 403, message: 'only from this machine: set an admin token to come from elsewhere' })
}
