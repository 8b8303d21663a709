const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/**
 * Milliseconds that `Retry-After` (RFC 9110 10.2.3) asks to wait from `wall` (ms since the Unix epoch) on: seconds, or a date as
 * IMF-fixdate. 0: nothing that can be understood, or no wait.
 */
export function readRetryAfter (value: string, wall: number): number {
  const text = value.trim()
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const [, day, month, year, hour, minute, second] = /^[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/.exec(text) ?? []
  if (day === undefined || !MONTHS.includes(month!)) return 0
  return Math.max(0, Date.UTC(Number(year), MONTHS.indexOf(month!), Number(day), Number(hour), Number(minute), Number(second)) - wall)
}
