import type { FastifyContextConfig, FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { anyType, leaveUnread } from './bodies.ts'
import { refuseRoute } from './refuse.ts'
import { headOf } from './upgrade.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE',
  'LOCK', 'UNLOCK', 'SEARCH', 'REPORT', 'MKCALENDAR', 'QUERY', 'PURGE', 'M-SEARCH', 'LINK', 'UNLINK', 'BIND', 'REBIND', 'UNBIND', 'ACL',
  'CHECKOUT', 'MERGE', 'MKACTIVITY', 'NOTIFY', 'SUBSCRIBE', 'UNSUBSCRIBE', 'SOURCE']

/** Fastify looks at no Content-Type of these: they are spared a hook. */
const BODILESS = new Set(['GET', 'HEAD', 'TRACE'])

/** Registers one prefix in a scope of its own, where bodies of all types pass unread. `path` names the route's option in errors. */
export function addRoute (
  app: FastifyInstance, prefix: string, config: FastifyContextConfig, path: string, handler: (request: FastifyRequest, reply: FastifyReply) => void,
  onRequest: onRequestHookHandler[]
): void {
  leaveUnread(app)
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
    const settings = { url, exposeHeadRoute: false, bodyLimit: Number.MAX_SAFE_INTEGER, preHandler: upgrades, handler, onRequest }
    const bodiless = free.filter((method) => BODILESS.has(method))
    const others = free.filter((method) => !BODILESS.has(method))
    // Fastify writes into a route's config.
    if (bodiless.length > 0) app.route({ ...settings, config: { ...config }, method: bodiless as never })
    if (others.length > 0) app.route({ ...settings, config: { ...config }, method: others as never, preParsing: anyType })
  }
}
