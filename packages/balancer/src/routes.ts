import type { FastifyContextConfig, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Pool } from '@headgate/core'
import { cookieValue } from './pool-questions.ts'
import { headOf } from './upgrade.ts'
import { refuseRoute, type Rule, type RouteOptions } from './options.ts'

/** Gives the pools for a request, in the order of trial; empty when no rule matches. */
export type Chooser = (request: FastifyRequest) => readonly Pool[]

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE',
  'LOCK', 'UNLOCK', 'SEARCH', 'REPORT', 'MKCALENDAR', 'QUERY', 'PURGE', 'M-SEARCH', 'LINK', 'UNLINK', 'BIND', 'REBIND', 'UNBIND', 'ACL',
  'CHECKOUT', 'MERGE', 'MKACTIVITY', 'NOTIFY', 'SUBSCRIBE', 'UNSUBSCRIBE', 'SOURCE']

const holds = (value: string, wanted: string | RegExp): boolean => typeof wanted === 'string' ? value === wanted : wanted.test(value)

/** What fields have to be; a pattern that remembers where it stopped would match every other time. */
function compileFields (fields: Readonly<Record<string, string | RegExp>> = {}, path: string): [name: string, wanted: string | RegExp][] {
  return Object.entries(fields).map(([name, wanted]) => {
    if (wanted instanceof RegExp) return [name, new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, ''))]
    return typeof wanted === 'string' ? [name, wanted] : refuseRoute(`${path}.${name}`, 'must be a string or a RegExp', wanted)
  })
}

function compileMatch (match: Rule['match'], path: string): (request: FastifyRequest) => boolean {
  if (match === undefined) return () => true
  if (typeof match === 'function') return match
  const methods = match.method === undefined ? undefined : new Set([match.method].flat())
  const headers = compileFields(match.header, `${path}.header`)
  const cookies = compileFields(match.cookie, `${path}.cookie`)
  return (request) => (methods === undefined || methods.has(request.method)) &&
    headers.every(([name, wanted]) => request.headers[name.toLowerCase()] !== undefined && holds(String(request.headers[name.toLowerCase()]), wanted)) &&
    cookies.every(([name, wanted]) => holds(cookieValue(request.headers.cookie, name), wanted))
}

/** Compiles a route's `pool` or `rules` once. Unknown pools fail with the option's path. */
export function compileChooser (route: RouteOptions, path: string, pools: ReadonlyMap<string, Pool>, random: () => number): Chooser {
  const find = (name: string, at: string): Pool => pools.get(name) ?? refuseRoute(at, `must be one of the pools ${[...pools.keys()].join(', ')}`, name)
  if ((route.pool === undefined) === (route.rules === undefined)) refuseRoute(path, "needs either 'pool' or 'rules'", route)
  if (route.pool !== undefined) {
    const fixed = [find(route.pool, `${path}.pool`)]
    return () => fixed
  }
  const rules = route.rules!.map((rule, index) => {
    const at = `${path}.rules[${index}]`
    const fallback = (rule.fallback ?? []).map((name, i) => find(name, `${at}.fallback[${i}]`))
    const split = typeof rule.pool === 'string' ? [[rule.pool, 1] as const] : Object.entries(rule.pool as Record<string, number>)
    const targets = split.map(([name, share]) => {
      if (!(share >= 0) || !Number.isFinite(share)) refuseRoute(`${at}.pool.${name}`, 'must be a share of 0 or more', share)
      return { share, pools: [find(name, `${at}.pool`), ...fallback] }
    })
    const total = targets.reduce((sum, { share }) => sum + share, 0)
    if (total <= 0) refuseRoute(`${at}.pool`, 'needs a share above 0', rule.pool)
    return { matches: compileMatch(rule.match, `${at}.match`), targets, total }
  })
  return (request) => {
    for (const { matches, targets, total } of rules) {
      if (!matches(request)) continue
      let at = targets.length === 1 ? 0 : random() * total
      for (const target of targets) {
        at -= target.share
        if (at < 0) return target.pools
      }
      return targets.at(-1)!.pools
    }
    return []
  }
}

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
