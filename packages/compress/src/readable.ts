import type { FastifyRequest } from 'fastify'
import { type Fields, fieldOf } from './fields.ts'

/**
 * May the page that asks read the response (RFC 9842 9.3.3)? One that it may not read must not be encoded with a dictionary: its length would tell of
 * its content. Clients that send no fetch metadata are not asked.
 */
export function isReadable ({ headers }: FastifyRequest, fields: Fields): boolean {
  const site = headers['sec-fetch-site']
  const mode = headers['sec-fetch-mode']
  if (site === undefined || site === 'same-origin' || mode === undefined || mode === 'navigate' || mode === 'same-origin') return true
  const { origin } = headers
  const allowed = fieldOf(fields, 'access-control-allow-origin')
  return mode === 'cors' && origin !== undefined && (allowed === '*' || allowed === origin)
}
