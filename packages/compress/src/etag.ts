/** `weak`: W/ in front. `suffix`: the coding at the end, so that strong comparison (If-Match) goes on working. */
export type EtagMode = 'weak' | 'suffix'

/** Between an entity tag and the coding; other servers join with a hyphen, and theirs have to pass unchanged. */
const MARK = '~'
const SUFFIXED = /~(?:gzip|deflate|br|zstd|dcb|dcz|identity)"/

/** The entity tag of a body with another coding: never the same strong one (RFC 9110 8.8.3.3). */
export function encodedEtag (etag: string, encoding: string, mode: EtagMode): string {
  if (etag.startsWith('W/')) return etag
  return mode === 'suffix' && etag.endsWith('"') ? `${etag.slice(0, -1)}${MARK}${encoding}"` : `W/${etag}`
}

/** A list of entity tags as the upstream knows them; the same string when there was nothing to change. */
export function originEtags (list: string): string {
  return SUFFIXED.test(list) ? list.replace(new RegExp(SUFFIXED, 'g'), '"') : list
}

const TAG = /(?:W\/)?"[^"]*"/g

/**
 * The entity tag for a 304: the one by which the client knows what it has (RFC 9111 4.3.4 lets it update only that one).
 * `sent` is the client's If-None-Match.
 */
export function knownEtag (etag: string, sent: string): string {
  const opaque = etag.startsWith('W/') ? etag.slice(2) : etag
  let weak: string | undefined
  for (const [tag] of sent.matchAll(TAG)) {
    if (tag === etag) return etag
    const strong = tag.startsWith('W/') ? tag.slice(2) : tag
    if (strong === opaque || originEtags(strong) === opaque) weak ??= tag
  }
  return weak ?? etag
}
