import { createHash } from 'node:crypto'

/** What its origin says of a page: who may keep it, and whether each user has one of his own. */
export interface Kind { readonly cacheControl: string; readonly own: boolean; readonly longest: number; readonly coded?: true }

export const kinds: Readonly<Record<string, Kind>> = {
  shared: { cacheControl: 'public, max-age=600', own: false, longest: 9000 },
  own: { cacheControl: 'max-age=600', own: true, longest: 9000 },
  validated: { cacheControl: 'no-cache', own: true, longest: 9000 },
  private: { cacheControl: 'private, max-age=600', own: true, longest: 9000 },
  // More than is encoded at once, and in several pieces.
  long: { cacheControl: 'max-age=600', own: true, longest: 120_000 },
  // Encoded by the origin for those who take it.
  coded: { cacheControl: 'max-age=600', own: false, longest: 9000, coded: true }
}

export const kindOf = (url: string): Kind => kinds[url.split('/')[1]!]!

export interface Page { readonly body: Buffer; readonly etag: string }

const pages = new Map<string, Page>()

/** The only right content of a URL for a user at a version. Each line tells all of that and its number, so that no part fits elsewhere. */
export function page (url: string, user: string, version: number): Page {
  const kind = kindOf(url)
  const id = `${url} ${kind.own ? user : 'all'} ${version}`
  const known = pages.get(id)
  if (known !== undefined) return known
  const digest = createHash('sha256').update(id).digest()
  const length = 200 + digest.readUInt32LE(0) % kind.longest
  let text = ''
  const noise = digest.toString('base64')
  for (let line = 0; text.length < length; line++) text += `${line} ${id} ${noise.slice(line % 32)}\n`
  const made = { body: Buffer.from(text.slice(0, length)), etag: `"${digest.toString('hex', 4, 16)}"` }
  pages.set(id, made)
  return made
}

/** Of a page of so many bytes, those that a Range asks for; `undefined`: none of them is there. */
export function rangeOf (field: string, size: number): { first: number; last: number } | undefined {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(field)!
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from)
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return first > last ? undefined : { first, last }
}
