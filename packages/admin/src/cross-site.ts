import type { onRequestHookHandler } from 'fastify'
import { CrossSiteError } from './errors.ts'

/** Any value; a page of another site cannot send it without asking first, which no route here answers. */
export const TOKEN_HEADER = 'x-headgate-admin'

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Keeps pages of other sites from changing anything with the operator's cookies or saved password: changes need a header that
 * forms and images cannot send, and where the browser says where the request comes from (Fetch Metadata, `Origin`), it has to be here.
 * The second holds also where the app allows foreign origins by CORS.
 */
export const refuseCrossSite: onRequestHookHandler = (request, _reply, done) => {
  if (SAFE.has(request.method)) return done()
  const { headers } = request
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return done(new CrossSiteError('it comes from another site'))
  if (headers.origin !== undefined && !sameHost(headers.origin, request.host)) return done(new CrossSiteError('it comes from another origin'))
  if (headers[TOKEN_HEADER] === undefined) return done(new CrossSiteError(`changes need the header ${TOKEN_HEADER}, with any value`))
  done()
}

function sameHost (origin: string, host: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase().replace(/:(80|443)$/, (port) => new URL(origin).port === '' ? '' : port)
}
