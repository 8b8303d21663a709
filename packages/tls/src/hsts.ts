import type { HstsOptions } from './options.ts'

/** The value of `Strict-Transport-Security` (RFC 6797 6.1). */
export function hstsValue ({ maxAge = 63_072_000, includeSubDomains = false, preload = false }: HstsOptions = {}): string {
  return `max-age=${maxAge}${includeSubDomains ? '; includeSubDomains' : ''}${preload ? '; preload' : ''}`
}
