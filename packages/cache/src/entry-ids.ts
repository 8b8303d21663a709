/**
 * Names for entries: time, this process, a number. Processes that share a store share one space of names, and two of them often store in the
 * same millisecond, so what tells them apart is drawn by chance (41 bits).
 */
export function entryIds (random: () => number): (responseTime: number) => string {
  const own = Math.floor(random() * 36 ** 8).toString(36).padStart(8, '0')
  let counter = 0
  return (responseTime) => `${responseTime.toString(36)}-${own}-${(counter = (counter + 1) % 1e9).toString(36)}`
}
