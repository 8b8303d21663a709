import type { Source } from './document.ts'

/**
 * Plugins name their options from `options` on, and files from their own name on: users get the file's name, line and column
 * first, as compilers and editors do. Where a file has no positions (modules), the path begins with its name.
 */
export function placed (error: unknown, source: Source | string): unknown {
  if (!(error instanceof Error)) return error
  const file = typeof source === 'string' ? source : source.file
  const start = [file, 'options'].find((begin) => error.message.startsWith(begin) && /^[.[:]/.test(error.message.slice(begin.length)))
  if (start === undefined) return error
  const rest = error.message.slice(start.length)
  // A position is there already.
  if (/^:\d+:/.test(rest)) return error
  const at = typeof source === 'string' ? undefined : source.locate(rest, /: unknown option/.test(rest) || /: is required/.test(rest))
  error.message = at === undefined ? `${file}${rest}` : `${file}:${at}: ${rest.replace(/^[.:]\s*/, '').replaceAll(/\boptions(?=\.(?:pools|routes|stream|health|cache|sticky)\b)/g, file)}`
  return error
}
