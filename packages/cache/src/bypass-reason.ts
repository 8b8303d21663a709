import type { FastifyRequest } from 'fastify'
import { cookie } from './keys.ts'
import type { RouteSettings } from './options.ts'
import { asGet } from './semantics/as-get.ts'
import { parseRequestCacheControl } from './semantics/cache-control.ts'

/** Why a request goes past the cache, in a word; '' when it does not. */
export function bypassReason (request: FastifyRequest, settings: RouteSettings): string {
  const { headers, method } = request
  // Conditions on the current state of the resource are for the origin alone (RFC 9111 4.3.2).
  if (headers['if-match'] !== undefined || headers['if-unmodified-since'] !== undefined) return 'condition'
  if (method !== 'HEAD' && !asGet(method) && (headers['if-none-match'] !== undefined || headers['if-modified-since'] !== undefined)) return 'condition'
  if (request.raw.url!.charCodeAt(0) !== 47) return 'target'
  for (const name of settings.privateCookies) if (cookie(headers.cookie, name) !== '') return 'cookie'
  if (settings.bypass?.(request) === true) return 'bypass'
  if (settings.requestDirectives && headers['cache-control'] !== undefined && parseRequestCacheControl(headers['cache-control']).noStore) return 'no-store'
  return ''
}
