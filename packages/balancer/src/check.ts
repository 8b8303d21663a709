import type { FastifyRequest } from 'fastify'
import { BadRequestError, BadTargetError, BodyTooLargeError, LoopError } from './errors.ts'
import type { RouteSettings } from './options.ts'
import { authorityOf, rewriteTarget } from './path.ts'
import { headOf } from './upgrade.ts'

/** A host with an optional port; no user information, path or white space. */
const HOST = /^[\w.\-~!$&'()*+,;=%:[\]]*$/

/**
 * Refuses what must not reach an upstream (RFC 9112 3.2, 6.3, 11.2), however Node's parser took it; gives the target to send.
 * Throws `HG_BALANCER_BAD_REQUEST`, `HG_BALANCER_BAD_TARGET`, `HG_BALANCER_BODY_TOO_LARGE` and `HG_BALANCER_LOOP`.
 */
export function checkRequest (request: FastifyRequest, settings: RouteSettings): string {
  const { raw } = request
  const { headers, rawHeaders, url = '' } = raw
  let hosts = 0
  let lengths = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
    else if (name.length === 14 && name.toLowerCase() === 'content-length') lengths++
  }
  const length = headers['content-length']
  if (hosts > 1) throw new BadRequestError('more than one Host field')
  if (lengths > 1 || (length !== undefined && !/^\d{1,15}$/.test(length))) throw new BadRequestError('Content-Length is not one number')
  if (headers.host !== undefined && !HOST.test(headers.host)) throw new BadRequestError('Host is not a host')
  if (raw.httpVersionMajor < 2 && raw.httpVersion !== '1.1' && raw.httpVersion !== '1.0') throw new BadRequestError('HTTP version is not 1.0 or 1.1')
  if (headers['transfer-encoding'] !== undefined) {
    if (headers['transfer-encoding'].toLowerCase() !== 'chunked' || length !== undefined) throw new BadRequestError('Transfer-Encoding is not just chunked')
    if (raw.httpVersion === '1.0') throw new BadRequestError('Transfer-Encoding in HTTP/1.0')
  }
  const hasBody = headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) > 0)
  if (hasBody && raw.method === 'TRACE') throw new BadRequestError('TRACE with content')
  // Node's parser leaves such a body unread.
  if (hasBody && headOf(raw) !== undefined) throw new BadRequestError('Upgrade with content')
  if (length !== undefined && Number(length) > settings.bodyLimit) throw new BodyTooLargeError()
  const authority = authorityOf(url)
  if (authority !== undefined && authority.toLowerCase() !== headers.host?.toLowerCase()) throw new BadRequestError('Host differs from the target')
  if (headers.via?.includes(settings.viaName) === true) throw new LoopError()
  const target = rewriteTarget(url, settings.prefix, settings.rewritePrefix)
  const sent = target === undefined || settings.rewritePath === undefined ? target : settings.rewritePath(target)
  if (sent === undefined) throw new BadTargetError()
  return sent
}
