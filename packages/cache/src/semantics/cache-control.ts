import { parseDictionary } from 'structured-headers'
import { type Fields, joined, listOf } from './fields.ts'

/**
 * Directives of a `Cache-Control` field (RFC 9111 5.2), read once. Times in seconds; −1 is absent, `NaN` is there but invalid,
 * which freshness takes for stale (4.2.1).
 */
export interface ResponseDirectives {
  maxAge: number
  sMaxAge: number
  staleWhileRevalidate: number
  staleIfError: number
  noStore: boolean
  /** `true` for all, or the fields that may not be used again without validation. */
  noCache: boolean | readonly string[]
  private: boolean | readonly string[]
  public: boolean
  mustRevalidate: boolean
  proxyRevalidate: boolean
  mustUnderstand: boolean
  immutable: boolean
}

export interface RequestDirectives {
  maxAge: number
  /** Infinity when given without a value. */
  maxStale: number
  minFresh: number
  staleIfError: number
  noCache: boolean
  noStore: boolean
  onlyIfCached: boolean
}

const TOKEN = /^[!#$%&'*+\-.^_`|~\w]+$/
/** Delta-seconds beyond this are taken as this (RFC 9111 1.2.2). */
const MAX_SECONDS = 2_147_483_648

/** Delta-seconds; quoted too, as 5.2 asks recipients to accept. `NaN` when it is something else. */
function seconds (value: string | undefined): number {
  if (value === undefined) return Number.NaN
  const digits = value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
  return /^\d+$/.test(digits) ? Math.min(Number(digits), MAX_SECONDS) : Number.NaN
}

function fieldNames (value: string | undefined): true | string[] {
  if (value === undefined) return true
  const names = listOf(value.replaceAll('"', '')).map((name) => name.toLowerCase())
  return names.length === 0 || !names.every((name) => TOKEN.test(name)) ? true : names
}

/** Calls `found` for each well-formed directive; the first occurrence counts (4.2.1), which is for the caller to keep. */
function each (value: string, found: (name: string, argument: string | undefined) => void): void {
  for (const item of listOf(value)) {
    const at = item.indexOf('=')
    const name = at === -1 ? item : item.slice(0, at)
    if (TOKEN.test(name)) found(name.toLowerCase(), at === -1 ? undefined : item.slice(at + 1))
  }
}

export function noDirectives (): ResponseDirectives {
  return {
    maxAge: -1, sMaxAge: -1, staleWhileRevalidate: -1, staleIfError: -1, noStore: false, noCache: false, private: false,
    public: false, mustRevalidate: false, proxyRevalidate: false, mustUnderstand: false, immutable: false
  }
}

const unset = (value: number): boolean => value === -1

function qualified (before: boolean | readonly string[], value: string | undefined): boolean | readonly string[] {
  if (before === true) return true
  const names = fieldNames(value)
  return names === true ? true : [...(before === false ? [] : before), ...names]
}

/** Reads the plain field. Unknown directives are ignored. */
export function parseCacheControl (value: string | undefined): ResponseDirectives {
  const directives = noDirectives()
  if (value === undefined) return directives
  each(value, (name, argument) => {
    switch (name) {
      case 'max-age': if (unset(directives.maxAge)) directives.maxAge = seconds(argument); break
      case 's-maxage': if (unset(directives.sMaxAge)) directives.sMaxAge = seconds(argument); break
      case 'stale-while-revalidate': if (unset(directives.staleWhileRevalidate)) directives.staleWhileRevalidate = seconds(argument) || 0; break
      case 'stale-if-error': if (unset(directives.staleIfError)) directives.staleIfError = seconds(argument) || 0; break
      case 'no-store': directives.noStore = true; break
      case 'no-cache': directives.noCache = qualified(directives.noCache, argument); break
      case 'private': directives.private = qualified(directives.private, argument); break
      case 'public': directives.public = true; break
      case 'must-revalidate': directives.mustRevalidate = true; break
      case 'proxy-revalidate': directives.proxyRevalidate = true; break
      case 'must-understand': directives.mustUnderstand = true; break
      case 'immutable': directives.immutable = true; break
    }
  })
  return directives
}

/**
 * Reads a targeted field (RFC 9213 2.1), which is a structured dictionary. `undefined` when it is absent, empty or not valid as a
 * whole, or when a directive that we know has a value of the wrong type: then the field counts as if it were not there.
 */
export function parseTargeted (value: string | undefined): ResponseDirectives | undefined {
  if (value === undefined) return undefined
  let dictionary: ReturnType<typeof parseDictionary>
  try {
    dictionary = parseDictionary(value)
  } catch {
    return undefined
  }
  if (dictionary.size === 0) return undefined
  const directives = noDirectives()
  for (const [name, [item]] of dictionary) {
    const number = typeof item === 'number' && Number.isInteger(item) ? Math.min(Math.max(item, 0), MAX_SECONDS) : undefined
    const flag = item === true
    switch (name) {
      case 'max-age': if (number === undefined) return undefined; directives.maxAge = number; break
      case 's-maxage': if (number === undefined) return undefined; directives.sMaxAge = number; break
      case 'stale-while-revalidate': if (number === undefined) return undefined; directives.staleWhileRevalidate = number; break
      case 'stale-if-error': if (number === undefined) return undefined; directives.staleIfError = number; break
      case 'no-store': directives.noStore = flag || item !== false; break
      case 'no-cache': directives.noCache = typeof item === 'string' ? fieldNames(item) : flag || item !== false; break
      case 'private': directives.private = typeof item === 'string' ? fieldNames(item) : flag || item !== false; break
      case 'public': directives.public = flag; break
      case 'must-revalidate': directives.mustRevalidate = flag || item !== false; break
      case 'proxy-revalidate': directives.proxyRevalidate = flag || item !== false; break
      case 'must-understand': directives.mustUnderstand = flag; break
      case 'immutable': directives.immutable = flag; break
    }
  }
  return directives
}

/** Directives that hold for us, and whether they come from a targeted field, which silences `Cache-Control` and `Expires`. */
export interface Governing {
  readonly directives: ResponseDirectives
  readonly targeted: boolean
}

/** The first valid field of the target list, or else `Cache-Control` (RFC 9213 2.2). `targets` are in lower case. */
export function governing (fields: Fields, targets: readonly string[]): Governing {
  for (const target of targets) {
    const directives = parseTargeted(joined(fields, target))
    if (directives !== undefined) return { directives, targeted: true }
  }
  return { directives: parseCacheControl(joined(fields, 'cache-control')), targeted: false }
}

const NO_REQUEST_DIRECTIVES: RequestDirectives = Object.freeze({
  maxAge: -1, maxStale: -1, minFresh: -1, staleIfError: -1, noCache: false, noStore: false, onlyIfCached: false
})

/** Reads a request's field (RFC 9111 5.2.1, RFC 5861 4). Invalid numbers take the strictest meaning: max-age 0, none of the others. */
export function parseRequestCacheControl (value: string | undefined): RequestDirectives {
  if (value === undefined) return NO_REQUEST_DIRECTIVES
  const directives = { ...NO_REQUEST_DIRECTIVES }
  each(value, (name, argument) => {
    switch (name) {
      case 'max-age': directives.maxAge = seconds(argument) || 0; break
      case 'max-stale': directives.maxStale = argument === undefined ? Number.POSITIVE_INFINITY : seconds(argument) || 0; break
      case 'min-fresh': directives.minFresh = seconds(argument) || 0; break
      case 'stale-if-error': directives.staleIfError = seconds(argument) || 0; break
      case 'no-cache': directives.noCache = true; break
      case 'no-store': directives.noStore = true; break
      case 'only-if-cached': directives.onlyIfCached = true; break
    }
  })
  return directives
}
