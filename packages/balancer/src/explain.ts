import { type Explanation, type PoolContext, explainPick, hash32 } from '@headgate/core'
import type { FastifyRequest } from 'fastify'
import type { RouteSettings } from './options.ts'
import { clientLocationOf, hashKeyOf } from './pool-questions.ts'
import { rewriteTarget } from './path.ts'
import type { Chooser } from './routing/choose.ts'

/** A request that is thought of, not made. */
export interface ImaginedRequest {
  readonly method: string
  /** Origin-form: `/path?query`. */
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  /** The client's address. */
  readonly ip?: string
}

/** Where a request would go. */
export interface RouteExplanation {
  /** Prefix of the route; `null` when none of the balancer's would take it. */
  readonly route: string | null
  /** What would be sent as the target. */
  readonly target: string
  /** The pools in the order in which they would be asked, the first that can give somebody is taken; none: the proxy answers itself. */
  readonly pools: readonly Explanation[]
}

export interface ExplainedRoute {
  readonly prefix: string
  readonly settings: RouteSettings
  readonly choose: Chooser
}

/** Dry run: no hook runs, nothing is sent, no policy takes notice. The app's own routes, which go before, are not looked at. */
export function explainRoute (routes: readonly ExplainedRoute[], imagined: ImaginedRequest): RouteExplanation {
  const path = imagined.url.replace(/[?#].*$/s, '')
  let found: ExplainedRoute | undefined
  for (const route of routes) {
    const { prefix } = route
    const takes = prefix === '/' || path === prefix || path.startsWith(`${prefix}/`)
    if (takes && (found === undefined || prefix.length > found.prefix.length)) found = route
  }
  if (found === undefined) return { route: null, target: imagined.url, pools: [] }
  const request = requestOf(imagined)
  const to = found.choose(request)
  const { pools, settings } = to ?? { pools: [], settings: found.settings }
  const method = imagined.method.toUpperCase()
  const target = rewriteTarget(imagined.url, settings.prefix, settings.rewritePrefix)
  return {
    route: found.prefix,
    target: (target === undefined || settings.rewritePath === undefined ? target : settings.rewritePath(target)) ?? imagined.url,
    pools: pools.map((pool) => explainPick(pool, {
      keyHash: hash32(hashKeyOf(request, pool.settings.hashOn)),
      clientAddress: request.ip,
      clientLocation: clientLocationOf(request, pool),
      affinity: undefined,
      attempts: 0,
      repeatable: settings.retryMethods.has(method),
      hasTried: () => false
    } satisfies PoolContext))
  }
}

/** As much of a request as rules and hash keys read. */
function requestOf ({ method, url, headers = {}, ip = '127.0.0.1' }: ImaginedRequest): FastifyRequest {
  const fields = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  const log = { warn () {} }
  const query = Object.fromEntries(new URLSearchParams(url.replace(/^[^?]*\??/s, '')))
  return { method: method.toUpperCase(), url, originalUrl: url, headers: fields, ip, host: fields['host'] ?? '', hostname: (fields['host'] ?? '').replace(/:\d+$/, ''), query, log, raw: { method, url, headers: fields } } as unknown as FastifyRequest
}
