import type { FastifyContextConfig, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { refuseRoute } from './refuse.ts'
import { headOf } from './upgrade.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE',
  'LOCK', 'UNLOCK', 'SEARCH', 'REPORT', 'MKCALENDAR', 'QUERY', 'PURGE', 'M-SEARCH', 'LINK', 'UNLINK', 'BIND', 'REBIND', 'UNBIND', 'ACL',
  'CHECKOUT', 'MERGE', 'MKACTIVITY', 'NOTIFY', 'SUBSCRIBE', 'UNSUBSCRIBE', 'SOURCE']

/** Registers one prefix in a scope of its own, where bodies of all types pass unread. `path` names the route's option in errors. */
export function addRoute (
  app: FastifyInstance, prefix: string, config: FastifyContextConfig, path: string, handler: (request: FastifyRequest, reply: FastifyReply) => void
): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => { done(null, payload) })
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true })
  const base = prefix.replace(/\/$/, '')
  const urls = base === '' ? ['/', '/*'] : [base, `${base}/*`]
  // @fastify/websocket wraps every handler and would answer upgrades itself: forward them at the end of the hooks instead.
  const upgrades = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    if (headOf(request.raw) === undefined) return done()
    handler(request, reply)
  }
  for (const url of urls) {
    // What the app answers itself stays its own: @fastify/cors has an `OPTIONS *`, which is the same route as `/*`.
    const taken = `${app.prefix}${url}`
    const free = app.supportedMethods.filter((method) => !app.hasRoute({ method: method as never, url: taken }) &&
      !(taken === '/*' && app.hasRoute({ method: method as never, url: '*' })))
    if (free.length === 0) {
      if (url === base) continue
      refuseRoute(`${path}.prefix`, `must leave something to forward, but the app has its own ${taken} for every method`, prefix)
    }
    // Fastify writes into a route's config.
    const settings = { config: { ...config }, exposeHeadRoute: false, bodyLimit: Number.MAX_SAFE_INTEGER }
    app.route({ ...settings, method: free as never, url, preHandler: upgrades, handler })
  }
}
