/**
 * A segment that a server may read as `.` or `..`: spelt plainly, percent-encoded, or with a path parameter behind it
 * (`..;x`), between slashes, backslashes or their encodings.
 */
const DOTS = /(?:^|\/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:;[^/\\?]*)?(?=\/|\\|%2f|%5c|$)/i
const VISIBLE = /^[\x21-\x7e]+$/
/** Two slashes in front, as browsers read them. */
const NETWORK_PATH = /^\/[/\\]/

/** Is it a path alone, which cannot be read in two ways: no query, fragment, dot segment, empty segment or backslash? */
export function isPlainPath (path: string): boolean {
  return /^\/[^\s?#\\]*$/.test(path) && !path.includes('//') && !DOTS.test(path)
}

/** May it be sent as a target's path: visible ASCII alone, and nothing that an upstream could read in two ways? */
export function isSendable (path: string): boolean {
  return path.startsWith('/') && !path.startsWith('//') && VISIBLE.test(path) && !/[?#\\]/.test(path) && !DOTS.test(path)
}

/** Splits off the query, its question mark included, without decoding anything. */
export function splitQuery (target: string): [path: string, query: string] {
  const at = target.indexOf('?')
  return at === -1 ? [target, ''] : [target.slice(0, at), target.slice(at)]
}

/** Origin form of a request target: an absolute-form one loses its scheme and authority. */
export function originForm (target: string): string {
  if (target.startsWith('/') || target === '*') return target
  const match = /^https?:\/\/[^/?#]*/i.exec(target)
  if (match === null) return target
  const rest = target.slice(match[0].length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** Authority of an absolute-form target; `undefined` for origin form. */
export function authorityOf (target: string): string | undefined {
  return /^https?:\/\/([^/?#]*)/i.exec(target)?.[1]
}

/**
 * What is left of `path` after `prefix`, the prefix matched as the router does: percent-encoded characters equal the plain
 * ones. `undefined` when it does not start with it.
 */
function strip (path: string, prefix: string): string | undefined {
  if (path.startsWith(prefix)) return path.slice(prefix.length)
  let at = 0
  for (const character of Buffer.from(prefix, 'utf8')) {
    let code = path.charCodeAt(at)
    let width = 1
    if (code === 0x25) {
      code = Number.parseInt(path.slice(at + 1, at + 3), 16)
      width = 3
    }
    if (code !== character) return undefined
    at += width
  }
  return path.slice(at)
}

/**
 * The target to send upstream: byte for byte the client's, but for the prefix. `undefined` when it is not acceptable: it could
 * name something outside the prefix, or another host, or holds bytes that no target may.
 */
export function rewriteTarget (target: string, prefix: string, rewritePrefix: string | undefined): string | undefined {
  const origin = originForm(target)
  if (origin === '*') return origin
  if (!origin.startsWith('/') || !VISIBLE.test(origin) || origin.includes('#')) return undefined
  const [path, query] = splitQuery(origin)
  if (DOTS.test(path)) return undefined
  if (rewritePrefix === undefined) return origin
  const rest = strip(path, prefix === '/' ? '' : prefix)
  if (rest === undefined) return undefined
  // A route such as `/api*` also takes `/api..;`, whose dots become a segment only behind the new prefix.
  if (!rest.startsWith('/') && DOTS.test(rest)) return undefined
  const base = rewritePrefix === '/' ? '' : rewritePrefix
  const joined = base + (rest === '' || rest.startsWith('/') ? rest : `/${rest}`)
  // What is left of `/api//host` would be a host to whoever resolves it as a reference (RFC 3986 4.2).
  if (NETWORK_PATH.test(joined) && !NETWORK_PATH.test(path)) return undefined
  return `${joined === '' ? '/' : joined}${query}`
}
