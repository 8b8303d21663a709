import type { Entry } from './entry.ts'
import type { Concern } from './store/contract.ts'

/** A test for what a purge is about. */
export function concerns ({ by, names }: Concern): (entry: Entry) => boolean {
  if (by === 'all') return () => true
  if (by === 'prefix') return ({ url }) => names.some((name) => url.startsWith(name))
  const wanted = new Set(names)
  if (by === 'url') return ({ url }) => wanted.has(url)
  if (by === 'tag') return ({ tags }) => tags.some((tag) => wanted.has(tag))
  return ({ groups }) => groups.some((group) => wanted.has(group))
}
