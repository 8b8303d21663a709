import type { FastifyRequest } from 'fastify'
import type { RouteSettings } from './options.ts'

/** `Location` with the upstream's own address made relative, and its prefix made the client's again. */
export function rewriteLocation (value: string, route: RouteSettings, upstreamHref: string): string {
  let rest = value
  if (rest.toLowerCase().startsWith(`${upstreamHref.toLowerCase()}/`)) rest = rest.slice(upstreamHref.length)
  if (!rest.startsWith('/') || rest.startsWith('//') || route.rewritePrefix === undefined) return rest
  const from = route.rewritePrefix === '/' ? '' : route.rewritePrefix
  const to = route.prefix.replace(/\/$/, '')
  if (from !== '' && rest !== from && !rest.startsWith(`${from}/`) && !rest.startsWith(`${from}?`)) return rest
  return `${to}${rest.slice(from.length)}` || '/'
}

/** `Set-Cookie` with another Domain ('' removes it) or Path, where the upstream gave one. */
export function rewriteCookie (value: string, domain: string | undefined, path: string | undefined): string {
  const [pair, ...attributes] = value.split(';')
  const kept = attributes.flatMap((attribute) => {
    const name = attribute.split('=', 1)[0]!.trim().toLowerCase()
    if (name === 'domain' && domain !== undefined) return domain === '' ? [] : [` Domain=${domain}`]
    return name === 'path' && path !== undefined ? [` Path=${path}`] : [attribute]
  })
  return [pair, ...kept].join(';')
}

/** Applies the route's rewriting to a flat list, in place. */
export function rewriteResponse (headers: string[], request: FastifyRequest, route: RouteSettings, upstreamHref: string): void {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (name.length === 8 && route.rewriteLocation && name.toLowerCase() === 'location') headers[i + 1] = rewriteLocation(headers[i + 1]!, route, upstreamHref)
    else if (name.length === 10 && route.rewritesCookies && name.toLowerCase() === 'set-cookie') {
      headers[i + 1] = rewriteCookie(headers[i + 1]!, route.cookieDomain, route.cookiePath)
    }
  }
  if (route.editResponse !== undefined) route.editResponse(headers, request, upstreamHref)
}
