const DASH = '–'

/** Three digits at most: `1.23`, `45.6`, `789`, `12.3k`, `4.5M`. */
export function count (value: number | null): string {
  if (value === null) return DASH
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']] as const) if (value >= size) return `${digits(value / (unit === 'k' ? 1000 : size))}${unit}`
  return digits(value)
}

function digits (value: number): string {
  if (value === 0) return '0'
  if (value >= 100) return String(Math.round(value))
  return String(Number(value.toPrecision(value >= 10 ? 3 : 2)))
}

/** Milliseconds as `0.42 ms`, `12 ms`, `1.5 s`. */
export function latency (ms: number | null): string {
  if (ms === null) return DASH
  return ms >= 1000 ? `${digits(ms / 1000)} s` : `${digits(ms)} ms`
}

export function percent (share: number | null): string {
  if (share === null || Number.isNaN(share)) return DASH
  const value = share * 100
  return `${value > 0 && value < 0.1 ? '<0.1' : value >= 99.95 || value === 0 ? Math.round(value) : value.toFixed(1)} %`
}

/** Powers of 1024, by their IEC names. */
export function bytes (value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  let rest = value
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024
    unit++
  }
  return `${digits(rest)} ${units[unit]!}`
}

/** How long ago: `3 s`, `12 min`, `5 h`, `9 d`. */
export function duration (ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

export function clock (at: number): string {
  return new Date(at).toLocaleTimeString(undefined, { hour12: false })
}

export function plural (number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`
}
