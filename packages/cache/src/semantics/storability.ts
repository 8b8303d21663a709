import type { ResponseDirectives } from './cache-control.ts'
import type { Lifetime } from './freshness.ts'
import { type Fields, first } from './fields.ts'

/** Final statuses whose caching rules we know, for `must-understand` (RFC 9111 5.2.2.3). */
const UNDERSTOOD = new Set([200, 203, 204, 206, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 421, 451, 500, 501, 502, 503, 504])

/** What to do with a response that sets cookies. */
export type SetCookiePolicy = 'explicit' | 'store' | 'strip' | 'refuse'

export interface StorabilityInput {
  readonly status: number
  readonly fields: Fields
  /** Fields that `no-cache` and `private` name: they are not stored, and the rest may be. */
  readonly named: readonly string[]
  readonly directives: ResponseDirectives
  readonly lifetime: Lifetime
  /** Absolute URI of the target, for its suffix. */
  readonly url: string
  /** It may be used stale by option. */
  readonly grace: boolean
  /** The request had `Authorization`. */
  readonly authorized: boolean
  readonly setCookie: SetCookiePolicy
}

/** Why a shared cache may not store a response (RFC 9111 3), in a word for `Cache-Status`; `undefined` when it may. */
export function refusal ({ status, fields, named, directives, lifetime, url, grace, authorized, setCookie }: StorabilityInput): string | undefined {
  if (status < 200 || status === 304) return 'status'
  const understood = UNDERSTOOD.has(status)
  if (directives.mustUnderstand && !understood) return 'must-understand'
  // must-understand overrides no-store where the status is understood (5.2.2.3).
  if (directives.noStore && !directives.mustUnderstand) return 'no-store'
  if (directives.private === true) return 'private'
  // 3.5: shared use of an answer to an authorised request has to be allowed explicitly.
  if (authorized && !(directives.public || directives.mustRevalidate || directives.sMaxAge >= 0)) return 'authorization'
  // 416 and 412 speak of one client's range or condition, 407 of its hop.
  if (status === 416 || status === 412 || status === 407) return 'status'
  if (status === 206 && first(fields, 'content-range') === undefined) return 'content-range'
  const vary = first(fields, 'vary')
  if (vary !== undefined && starred(fields)) return 'vary'
  if (first(fields, 'set-cookie') !== undefined) {
    if (setCookie === 'refuse') return 'set-cookie'
    if (setCookie === 'explicit' && !(directives.public || directives.sMaxAge >= 0 || named.includes('set-cookie'))) return 'set-cookie'
  }
  if (!(directives.public || directives.sMaxAge >= 0) && disguised(url, first(fields, 'content-type'))) return 'deception'
  const validated = (first(fields, 'etag') !== undefined || first(fields, 'last-modified') !== undefined) && (status === 200 || status === 206)
  // Without freshness it is of use only when it can be revalidated, or served stale.
  if (lifetime.from === 'none' && !validated) return 'freshness'
  if (lifetime.ms <= 0 && !validated && directives.staleWhileRevalidate <= 0 && directives.staleIfError <= 0 && !grace) return 'freshness'
  return undefined
}

/** Suffixes of files that are the same for everybody, none of which an origin serves as a page. */
const STATIC = /\.(?:css|js|mjs|png|jpe?g|gif|webp|avif|ico|bmp|tiff?|svgz?|woff2?|ttf|otf|eot|mp[34]|webm|ogg|wav|avi|mov|zip|gz|bz2|7z|rar|tar|jar|exe|dmg|iso|apk|bin|pdf|docx?|xlsx?|pptx?|swf|wasm)$/i
/** What applications answer with: pages, data, and the text that frameworks call a string. */
const PAGE = /^\s*(?:text\/(?:html|plain|xml|json)|application\/(?:xml|json|[^;\s]+\+(?:xml|json)))\s*(?:;|$)/i
/** Files of text and of data are these in earnest. */
const TEXT = /\.(?:map|csv)$/i
const MARKUP = /^\s*(?:text\/html|application\/xhtml\+xml)\b/i

/**
 * Web cache deception (Gil 2017; Mirheidari et al. 2020): `/account/x.css` makes an origin that ignores the rest of a path answer with the
 * account's page. A page under the name of a static file is not stored, unless its origin says explicitly that it is for all.
 */
function disguised (url: string, contentType: string | undefined): boolean {
  if (contentType === undefined || !PAGE.test(contentType)) return false
  const query = url.indexOf('?')
  const path = query === -1 ? url : url.slice(0, query)
  return TEXT.test(path) ? MARKUP.test(contentType) : STATIC.test(path)
}

/** A `*` anywhere in any line of Vary (RFC 9111 4.1). */
function starred (fields: Fields): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length === 4 && fields[i]!.toLowerCase() === 'vary' && fields[i + 1]!.split(',').some((name) => name.trim() === '*')) return true
  }
  return false
}
