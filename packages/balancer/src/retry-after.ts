const IMF_FIXDATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/

/**
 * Milliseconds that a `Retry-After` asks for, in seconds or as a date (RFC 9110 10.2.3), at least 0; `undefined` when it is
 * neither. `wall` is the time since the Unix epoch.
 */
export function parseRetryAfter (value: string | undefined, wall: number): number | undefined {
  if (value === undefined) return undefined
  if (/^\d{1,10}$/.test(value)) return Number(value) * 1000
  if (!IMF_FIXDATE.test(value)) return undefined
  const at = Date.parse(value)
  return Number.isNaN(at) ? undefined : Math.max(0, at - wall)
}
