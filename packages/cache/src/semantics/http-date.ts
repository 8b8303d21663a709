const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

const IMF = /^(?:mon|tue|wed|thu|fri|sat|sun), (\d{2}) ([a-z]{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) gmt$/i
const RFC850 = /^(?:mon|tues|wednes|thurs|fri|satur|sun)day, (\d{2})-([a-z]{3})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) gmt$/i
const ASCTIME = /^(?:mon|tue|wed|thu|fri|sat|sun) ([a-z]{3}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/i

function time (year: number, month: string, day: string, hour: string, minute: string, second: string): number {
  const index = MONTHS.indexOf(month.toLowerCase())
  // A leap second is allowed by the grammar and counts as the next minute's first.
  if (index === -1 || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return Number.NaN
  const date = new Date(0)
  date.setUTCFullYear(year, index, Number(day))
  if (date.getUTCMonth() !== index) return Number.NaN
  return date.getTime() + Number(hour) * 3_600_000 + Number(minute) * 60_000 + Number(second) * 1000
}

/**
 * Reads an HTTP-date in any of its three forms (RFC 9110 5.6.7), without regard to case as RFC 9111 4.2 asks of caches.
 * Everything else, other zones than GMT included, is `NaN`.
 *
 * @param now milliseconds since the epoch; settles the century of the two-digit form
 */
export function parseHttpDate (value: string | undefined, now: number): number {
  if (value === undefined) return Number.NaN
  let match = IMF.exec(value)
  if (match !== null) return time(Number(match[3]), match[2]!, match[1]!, match[4]!, match[5]!, match[6]!)
  match = RFC850.exec(value)
  if (match !== null) {
    const thisYear = new Date(now).getUTCFullYear()
    let year = thisYear - thisYear % 100 + Number(match[3])
    // What seems to be more than 50 years ahead is the most recent past year with those digits (RFC 9110 5.6.7).
    if (year > thisYear + 50) year -= 100
    return time(year, match[2]!, match[1]!, match[4]!, match[5]!, match[6]!)
  }
  match = ASCTIME.exec(value)
  if (match !== null) return time(Number(match[6]), match[1]!, match[2]!, match[3]!, match[4]!, match[5]!)
  return Number.NaN
}

/** IMF-fixdate of a moment in milliseconds since the epoch. */
export function formatHttpDate (ms: number): string {
  return new Date(ms).toUTCString()
}
